"""The only room that calls the system."""
