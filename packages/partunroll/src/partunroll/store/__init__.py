"""The data store: samples in Zarr, streamed, resumable and verified."""
