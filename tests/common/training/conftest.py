from importlib.util import find_spec

# Only the trainers' environments have what training needs.
collect_ignore_glob = [] if find_spec("pynvml") else ["test_*.py"]
