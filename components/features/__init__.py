"""Features shared by training and serving through a feature store: Feast, with the schema as their definition."""
