// Softmax cross-entropy over rows of V logits that lie side by side, and its gradient.

// What `two` makes of the values that the threads of a block hold, always in the same order. Each `two` has its
// own room for them, and so may be used once in a kernel.
template <typename Two>
__device__ real of_all(real mine, Two two)
{
    __shared__ real held[BLOCK];
    held[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) held[threadIdx.x] = two(held[threadIdx.x], held[threadIdx.x + half]);
        __syncthreads();
    }
    return held[0];
}

// A block for each row.
extern "C" __global__ void cross_entropy(
    const real* x, const integer* target, real* loss, real* probabilities, integer V)
{
    const integer row = blockIdx.x;
    x += row * V;
    probabilities += row * V;
    real highest = x[0];
    for (integer v = threadIdx.x; v < V; v += BLOCK) highest = fmax(highest, x[v]);
    highest = of_all(highest, [](real one, real other) { return fmax(one, other); });
    real total = 0;
    for (integer v = threadIdx.x; v < V; v += BLOCK) total += probabilities[v] = exp(x[v] - highest);
    total = of_all(total, [](real one, real other) { return one + other; });
    for (integer v = threadIdx.x; v < V; v += BLOCK) probabilities[v] /= total;
    if (threadIdx.x == 0) loss[row] = log(total) - (x[target[row]] - highest);
}

// A thread for each logit: dx = (p - 1 at the target) g.
extern "C" __global__ void cross_entropy_back(
    const real* probabilities, const integer* target, const real* g, real* dx, integer rows, integer V)
{
    const integer k = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (k >= rows * V) return;
    const integer row = k / V;
    dx[k] = (probabilities[k] - real(k % V == target[row])) * g[row];
}
