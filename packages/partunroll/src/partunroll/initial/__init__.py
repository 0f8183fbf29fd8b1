"""Initial estimates: filtered backprojection of cone and parallel beams, and A*y."""
