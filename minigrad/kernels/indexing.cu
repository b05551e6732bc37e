// array[rows] += values, for rows of one width, some of which come more than once: no atomics, always the same bits.
//
// A key is row * count + place, where `values[place]` is to be added to `array[row]`. The keys are sorted, so what
// belongs to one row stands together, in order. A thread for each key and column works where its row begins.
extern "C" __global__ void add_rows(
    real* array, const integer* keys, const real* values, integer count, integer width)
{
    const integer thread = (integer)blockIdx.x * BLOCK + threadIdx.x;
    if (thread >= count * width) return;
    const integer first = thread / width, column = thread % width, row = keys[first] / count;
    if (first > 0 && keys[first - 1] / count == row) return;
    real sum = 0;
    for (integer i = first; i < count && keys[i] / count == row; i++) sum += values[keys[i] % count * width + column];
    array[row * width + column] += sum;
}
