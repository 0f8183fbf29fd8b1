"""The networks, their weights, and the files that hold them."""
