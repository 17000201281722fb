from importlib.util import find_spec

# The command line's environment has no need of pyarrow.
collect_ignore = ["test_progress.py"] if find_spec("pyarrow") is None else []
