"""The pure parts of the layout."""
