"""Ways into servers of other people's: each module imports the one that it is named after, or nothing."""
