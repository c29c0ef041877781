"""What runs an op: buffers, kernels and warps on one kind of device."""
