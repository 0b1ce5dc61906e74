"""The compiled backend: a program becomes loop nests, kernels and library calls, and a table that native code runs.

In the order in which a program passes through:

    executable      a program ready to run; what happens when it stops; `dispatched`, `flat`: its calls from Python
    uniform         captured arrays of one value become scalars
    fuse, steps     equations become steps: fused kernels and calls; `accumulate`: updates in matrix products
    points, forms   expressions of single elements; where they are read
    expressions     values of a step's expressions in a kernel
    emit, blocks    from a step to loop nests
    nests, scalars  the loop-nest IR and its scalar operations; `scalar_rules`: what primitives compute per element
    library         calls: `dot`, `products`, `blas` (matrix products), `factorizations`, `lapack`, `routines*` (loops
                    of their own), `convolution*`, `pooling*`, `callbacks` (NumPy), `numba_calls`
    loops           scans and while_loops, whose bodies are planned as programs; `branches`: cond; `carries`, `stages`
    plan            items in `order`, memory (`ranges`); `planner`: of a program and of its loops; `analysis`, `report`:
                    what it costs, as text
    render_llvm     loop nests as LLVM assembly (`llvm_*`, `vecmath`)
    render_python   loop nests as Python source (`prelude`), compiled by Numba (`numba_*`)
    code            machine code of a plan: `cache`, `engine`; `warm`: loaded in the background
    native          the runtime: dispatch, thunks, threads
"""
