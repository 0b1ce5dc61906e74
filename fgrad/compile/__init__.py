"""Programs to machine code: loop nests, kernels, a memory plan and the thunk table that runs them."""
