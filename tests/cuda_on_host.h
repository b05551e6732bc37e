// What CUDA C needs to be C++: the threads of a block run one after the other, block after block.
//
// Where a kernel has barriers, each thread has a stack of its own and runs up to the next one. Every stretch between
// two barriers is run in the other order, so that one that is missing shows. What one thread leaves out fails.

#include <math.h>
#include <ucontext.h>

#include <functional>
#include <memory>

#define __global__
#define __device__
#define __shared__ static

struct Place { unsigned x; };
static Place threadIdx, blockIdx;

struct Fiber {
    ucontext_t context;
    bool finished;
    char stack[1 << 16];
};
static ucontext_t scheduler;
static std::unique_ptr<Fiber[]> fibers;
static std::function<void()> body;

static inline void __syncthreads() { swapcontext(&fibers[threadIdx.x].context, &scheduler); }

static void run_fiber()
{
    body();
    fibers[threadIdx.x].finished = true;
}

// Whether all threads of a block came to every barrier.
static bool run_block_with_barriers(unsigned size)
{
    fibers.reset(new Fiber[size]);
    for (unsigned i = 0; i < size; i++) {
        Fiber& fiber = fibers[i];
        fiber.finished = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack;
        fiber.context.uc_stack.ss_size = sizeof fiber.stack;
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, run_fiber, 0);
    }
    unsigned finished = 0;
    for (bool forward = true; finished == 0; forward = !forward)
        for (unsigned i = 0; i < size; i++) {
            threadIdx.x = forward ? i : size - 1 - i;
            swapcontext(&scheduler, &fibers[threadIdx.x].context);
            finished += fibers[threadIdx.x].finished;
        }
    return finished == size;
}

static bool run_block(unsigned size)
{
    for (threadIdx.x = 0; threadIdx.x < size; threadIdx.x++) body();
    return true;
}

static bool run(unsigned grid, unsigned block, bool barriers, std::function<void()> kernel)
{
    body = kernel;
    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)
        if (!(barriers ? run_block_with_barriers(block) : run_block(block))) return false;
    return true;
}
