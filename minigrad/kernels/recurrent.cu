// One step of each recurrent network, forward and back: a thread for each unit j of each sequence b.
//
//     T steps   B batch   H hidden   G gates of H units each
//     a (G, T, B, H)          what the input adds to the gates; a step leaves the gates' values there
//     p (B, G H)              what the state adds, W_hh h
//     hs, cs (T + 1, B, H)    states before the first step and after each
//     over (T, B)             where a sequence is over and its state stays; null: nowhere
//     dhs (T, B, H)           the gradients of hs[1:] from outside
//     dh (B, H)               the gradient of the state after step t, which came through W_hh ...
//     stays (B, H)            ... and the rest of it, which did not; then the same of the state before step t
//     da, dp (T, B, G H)      the gradients of what becomes the gates: all of it, and p of all steps

__device__ real sigmoid(real a) { return real(0.5) + real(0.5) * tanh(real(0.5) * a); }
__device__ real sigmoid_slope(real s) { return s * (real(1) - s); }
__device__ real tanh_slope(real y) { return real(1) - y * y; }

// Which unit a thread works on, and where that stands in the arrays.
struct Unit {
    integer k, b, j, row, now, next, gate;  // k, j and b of (B, H), `row` of (T, B); `now` and `next` of (T, B, H)
    __device__ Unit(integer t, integer T, integer B, integer H)
        : k((integer)blockIdx.x * BLOCK + threadIdx.x), b(k / H), j(k % H), row(t * B + b), now(t * B * H + k),
          next(now + B * H), gate(T * B * H) {}  // from a gate to the next
};

// ---- RNN; hs[t + 1] holds p at first

extern "C" __global__ void rnn_step(
    const real* a, real* hs, const bool* over, integer relu, integer T, integer B, integer H, integer t)
{
    const Unit u(t, T, B, H);
    if (u.k >= B * H) return;
    const real q = hs[u.next] + a[u.now];
    const real h = relu ? (q < 0 ? real(0) : q) : tanh(q);  // relu leaves a nan as it is
    const bool is_over = over && over[u.row];
    hs[u.next] = is_over ? hs[u.now] : h;
}

extern "C" __global__ void rnn_step_back(
    const real* hs, const real* dhs, const real* dh, real* stays, const bool* over, real* da, integer relu,
    integer T, integer B, integer H, integer t)
{
    const Unit u(t, T, B, H);
    if (u.k >= B * H) return;
    const bool is_over = over && over[u.row];
    const real h = hs[u.next], g = dh[u.k] + stays[u.k] + dhs[u.now];
    const real slope = is_over ? real(0) : relu ? real(h > 0) : tanh_slope(h);
    da[u.now] = slope * g;
    stays[u.k] = is_over ? g : real(0);
}

// ---- LSTM: i, f, n, o, where n is the candidate

extern "C" __global__ void lstm_step(
    real* a, const real* p, real* hs, real* cs, const bool* over, integer T, integer B, integer H, integer t)
{
    const Unit u(t, T, B, H);
    if (u.k >= B * H) return;
    real* gates = a + u.now;
    p += u.b * 4 * H + u.j;
    const bool is_over = over && over[u.row];  // c' = 1 * c + 0 * 0, and all slopes are 0
    const real i = is_over ? real(0) : sigmoid(gates[0] + p[0]);
    const real f = is_over ? real(1) : sigmoid(gates[u.gate] + p[H]);
    const real n = is_over ? real(0) : tanh(gates[2 * u.gate] + p[2 * H]);
    const real o = is_over ? real(0) : sigmoid(gates[3 * u.gate] + p[3 * H]);
    const real c = f * cs[u.now] + i * n;
    gates[0] = i;
    gates[u.gate] = f;
    gates[2 * u.gate] = n;
    gates[3 * u.gate] = o;
    cs[u.next] = c;
    hs[u.next] = is_over ? hs[u.now] : o * tanh(c);
}

extern "C" __global__ void lstm_step_back(
    const real* a, const real* cs, const real* dhs, const real* dh, real* stays, real* dc, const bool* over, real* da,
    integer T, integer B, integer H, integer t)
{
    const Unit u(t, T, B, H);
    if (u.k >= B * H) return;
    const real* gates = a + u.now;
    da += u.row * 4 * H + u.j;
    const real i = gates[0], f = gates[u.gate], n = gates[2 * u.gate], o = gates[3 * u.gate], y = tanh(cs[u.next]);
    const real g = dh[u.k] + stays[u.k] + dhs[u.now];
    const real gc = dc[u.k] + g * o * tanh_slope(y);
    da[0] = gc * n * sigmoid_slope(i);
    da[H] = gc * cs[u.now] * sigmoid_slope(f);
    da[2 * H] = gc * i * tanh_slope(n);
    da[3 * H] = g * y * sigmoid_slope(o);
    dc[u.k] = gc * f;
    const bool is_over = over && over[u.row];
    stays[u.k] = is_over ? g : real(0);
}

// ---- GRU: r, z, n, where n is the candidate; recurrent_n (T, B, H) keeps what the state adds to it, b_hh (3 H) may be null

extern "C" __global__ void gru_step(
    real* a, const real* p, const real* b_hh, real* hs, real* recurrent_n, const bool* over, integer T, integer B, integer H, integer t)
{
    const Unit u(t, T, B, H);
    if (u.k >= B * H) return;
    real* gates = a + u.now;
    p += u.b * 3 * H + u.j;
    const real b_r = b_hh ? b_hh[u.j] : real(0), b_z = b_hh ? b_hh[H + u.j] : real(0);
    const real hn = b_hh ? p[2 * H] + b_hh[2 * H + u.j] : p[2 * H];
    const bool is_over = over && over[u.row];  // h' = n + 1 * (h - n), and all slopes are 0
    const real r = sigmoid(gates[0] + (p[0] + b_r));
    const real z = is_over ? real(1) : sigmoid(gates[u.gate] + (p[H] + b_z));
    const real n = tanh(gates[2 * u.gate] + r * hn);
    const real h = hs[u.now];
    gates[0] = r;
    gates[u.gate] = z;
    gates[2 * u.gate] = n;
    recurrent_n[u.now] = hn;
    hs[u.next] = is_over ? h : n + z * (h - n);
}

extern "C" __global__ void gru_step_back(
    const real* a, const real* recurrent_n, const real* hs, const real* dhs, const real* dh, real* stays, real* da, real* dp,
    integer T, integer B, integer H, integer t)
{
    const Unit u(t, T, B, H);
    if (u.k >= B * H) return;
    const real* gates = a + u.now;
    da += u.row * 3 * H + u.j;
    dp += u.row * 3 * H + u.j;
    const real r = gates[0], z = gates[u.gate], n = gates[2 * u.gate];
    const real g = dh[u.k] + stays[u.k] + dhs[u.now];
    const real by_n = g * (real(1) - z) * tanh_slope(n);
    da[0] = dp[0] = by_n * recurrent_n[u.now] * sigmoid_slope(r);
    da[H] = dp[H] = g * (hs[u.now] - n) * sigmoid_slope(z);
    da[2 * H] = by_n;
    dp[2 * H] = by_n * r;
    stays[u.k] = g * z;
}
