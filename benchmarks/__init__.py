"""What the project measures about itself, each part by one command of the Makefile."""
