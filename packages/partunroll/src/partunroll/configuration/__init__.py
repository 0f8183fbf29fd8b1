"""The configuration of a training, as validated YAML."""
