"""Raw files from wherever they lie, as typed tables, and one Dataset made of them."""
