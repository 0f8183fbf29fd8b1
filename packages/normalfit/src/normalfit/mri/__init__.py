"""What an MRI operator is made of: sampling masks, trajectories and coil maps."""
