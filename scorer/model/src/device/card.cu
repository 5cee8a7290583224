// What a card does in kernels of our own: attention over segments that see rows at any place, and its gradient; norms, rotary positions, gates, the
// loss of the next token and AdamW, each read and written once.
//
// Compiled when it is first needed, for heads WIDTH numbers wide, without a header. bf16 products with f32 sums on tensor cores of compute capability
// 8.0 and later (mma.sync m16n8k16). In a fragment, lane = 4 * g + t holds rows g and g + 8, columns 2t and 2t + 1 (and 8 further); FlashAttention-2
// (Dao 2023) says how scores are never written down.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define STEPS (WIDTH / 16)
#define PARTS (WIDTH / 8)
// Rows of a tile in shared memory lie so far apart that the lanes of a fragment meet no bank twice.
#define STRIDE (WIDTH + 8)
// Rows of a block, 16 a warp.
#define ROWS 64
#define THREADS 128
#define LOG2_E 1.4426950408889634f
#define LOWEST -1e30f

// Queries that follow each other: first row, how many, where their path begins, the position of the first.
struct Queries { u32 row, count, path, position; };
// Keys that follow each other on a path: where on it, how many, the first's position; and the segment's rows, their number, the first's position.
struct Keys { u32 path, count, position, row, rows, first; };

__device__ __forceinline__ u32 packed(float low, float high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ float widened(u16 number) { return __uint_as_float((u32)number << 16); }

__device__ __forceinline__ u16 rounded(float number) { return (u16)(packed(number, 0.0f) & 0xffffu); }

// sums[16 x 8] += left[16 x 16] . right[16 x 8]
__device__ __forceinline__ void multiply(float *sums, const u32 *left, u32 low, u32 high) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(low), "r"(high));
}

// The right side of a product whose inner dimension runs down the tile's rows: 16 of them from `row` on, 8 columns from `column` on.
__device__ __forceinline__ void across(const u16 *tile, int row, int column, u32 *low, u32 *high) {
    const u16 *from = tile + (row + (threadIdx.x & 15)) * STRIDE + column;
    u32 address;
    asm("{ .reg .u64 shared; cvta.to.shared.u64 shared, %1; cvt.u32.u64 %0, shared; }" : "=r"(address) : "l"(from));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(*low), "=r"(*high) : "r"(address) : "memory");
}

// The left side's fragments of a warp's 16 rows, which lie where `row_of` says; rows that are not there are zeros.
template <typename RowOf>
__device__ __forceinline__ void fragments(u32 (*to)[4], const u16 *from, int first, int count, RowOf row_of) {
    const int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int index = first + g + 8 * half;
        const u32 *row = index < count ? (const u32 *)(from + row_of(index)) : 0;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            to[step][half] = row ? row[step * 8 + t] : 0;
            to[step][half + 2] = row ? row[step * 8 + t + 4] : 0;
        }
    }
}

// Brings `count` rows into a tile of `most`; what is not there is zeros.
template <typename RowOf>
__device__ __forceinline__ void bring(u16 *tile, const u16 *from, int most, int count, RowOf row_of) {
    for (int at = threadIdx.x; at < most * PARTS; at += THREADS) {
        const int index = at / PARTS, part = at % PARTS;
        uint4 eight = make_uint4(0, 0, 0, 0);
        if (index < count) eight = *(const uint4 *)(from + row_of(index) + part * 8);
        *(uint4 *)(tile + index * STRIDE + part * 8) = eight;
    }
}

// sums[16 x 8 * parts] = left . tile^T, over `parts` times eight rows of the tile.
template <int COUNT>
__device__ __forceinline__ void along(float (*sums)[4], u32 (*left)[4], const u16 *tile) {
    const int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int part = 0; part < COUNT; part++) {
        const u32 *row = (const u32 *)(tile + (part * 8 + g) * STRIDE);
        sums[part][0] = sums[part][1] = sums[part][2] = sums[part][3] = 0.0f;
#pragma unroll
        for (int step = 0; step < STEPS; step++) multiply(sums[part], left[step], row[step * 8 + t], row[step * 8 + t + 4]);
    }
}

// sums[16 x WIDTH] += left[16 x 8 * COUNT] . tile, the left side being sums of a product before.
template <int COUNT>
__device__ __forceinline__ void onto(float (*sums)[4], float (*left)[4], const u16 *tile) {
#pragma unroll
    for (int step = 0; step < COUNT / 2; step++) {
        const float *one = left[2 * step], *other = left[2 * step + 1];
        const u32 both[4] = {packed(one[0], one[1]), packed(one[2], one[3]), packed(other[0], other[1]), packed(other[2], other[3])};
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            u32 low, high;
            across(tile, step * 16, part * 8, &low, &high);
            multiply(sums[part], both, low, high);
        }
    }
}

__device__ __forceinline__ float highest(float number) {
    number = fmaxf(number, __shfl_xor_sync(0xffffffffu, number, 1));
    return fmaxf(number, __shfl_xor_sync(0xffffffffu, number, 2));
}

__device__ __forceinline__ float summed(float number) {
    number += __shfl_xor_sync(0xffffffffu, number, 1);
    return number + __shfl_xor_sync(0xffffffffu, number, 2);
}

// One block of queries of one head. `heads` is [rows, (queries + 2 * keys) * WIDTH], turned; `out` [rows, queries * WIDTH]; `sums`, [queries, rows],
// gets the base-2 logarithm of each row's sum of exponentials.
extern "C" __global__ void __launch_bounds__(THREADS) attend(const u16 *heads, const u32 *paths, const Queries *blocks, u16 *out, float *sums,
                                                             u32 rows, u32 queries, u32 keys, float scale) {
    __shared__ __align__(16) u16 key_tile[ROWS * STRIDE];
    __shared__ __align__(16) u16 value_tile[ROWS * STRIDE];
    const Queries own = blocks[blockIdx.x];
    const u32 head = blockIdx.y, shared = head / (queries / keys);
    const size_t stride = (size_t)(queries + 2 * keys) * WIDTH;
    const u16 *key = heads + (queries + shared) * WIDTH, *value = heads + (queries + keys + shared) * WIDTH;
    const int warp = threadIdx.x >> 5, g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    const float steep = scale * LOG2_E;

    u32 query[STEPS][4];
    fragments(query, heads + head * WIDTH, warp * 16, own.count, [&](int index) { return (own.row + index) * stride; });
    float gathered[PARTS][4] = {};
    float most[2] = {LOWEST, LOWEST}, sum[2] = {0.0f, 0.0f};
    const int seen = own.position + own.count;
    for (int first = 0; first < seen; first += ROWS) {
        const auto place = [&](int index) { return paths[own.path + first + index] * stride; };
        __syncthreads();
        bring(key_tile, key, ROWS, seen - first, place);
        bring(value_tile, value, ROWS, seen - first, place);
        __syncthreads();
        float scores[ROWS / 8][4];
        along<ROWS / 8>(scores, query, key_tile);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int last = own.position + warp * 16 + g + 8 * half;
            float top = most[half];
#pragma unroll
            for (int part = 0; part < ROWS / 8; part++)
#pragma unroll
                for (int side = 0; side < 2; side++) {
                    float *score = &scores[part][2 * half + side];
                    *score = first + part * 8 + 2 * t + side <= last ? *score * steep : LOWEST;
                    top = fmaxf(top, *score);
                }
            top = highest(top);
            const float shrink = exp2f(most[half] - top);
            most[half] = top;
            float more = 0.0f;
#pragma unroll
            for (int part = 0; part < ROWS / 8; part++)
#pragma unroll
                for (int side = 0; side < 2; side++) {
                    float *score = &scores[part][2 * half + side];
                    *score = *score <= LOWEST ? 0.0f : exp2f(*score - top);
                    more += *score;
                }
            sum[half] = sum[half] * shrink + summed(more);
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                gathered[part][2 * half] *= shrink;
                gathered[part][2 * half + 1] *= shrink;
            }
        }
        onto<ROWS / 8>(gathered, scores, value_tile);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 index = warp * 16 + g + 8 * half;
        if (index >= own.count) continue;
        const float share = 1.0f / sum[half];
        u32 *to = (u32 *)(out + ((size_t)(own.row + index) * queries + head) * WIDTH);
#pragma unroll
        for (int part = 0; part < PARTS; part++) to[part * 4 + t] = packed(gathered[part][2 * half] * share, gathered[part][2 * half + 1] * share);
        if (t == 0) sums[(size_t)head * rows + own.row + index] = most[half] + log2f(sum[half]);
    }
}

// What each row's slopes and its result have in common, [queries, rows]: a warp each.
extern "C" __global__ void deltas(const u16 *out, const u16 *slopes, float *to, u32 rows, u32 queries) {
    const u32 at = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, lane = threadIdx.x & 31;
    if (at >= rows * queries) return;
    float sum = 0.0f;
    for (u32 column = lane; column < WIDTH; column += 32) sum += widened(out[(size_t)at * WIDTH + column]) * widened(slopes[(size_t)at * WIDTH + column]);
    for (int apart = 16; apart; apart >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
    if (lane == 0) to[(size_t)(at % queries) * rows + at / queries] = sum;
}

// Rows of the other side that the gradients read at a time.
#define FEW 32

// The gradient of one block of queries of one head: `towards` is [rows, queries * WIDTH].
extern "C" __global__ void __launch_bounds__(THREADS) towards_queries(const u16 *heads, const u32 *paths, const Queries *blocks, const u16 *slopes,
                                                                      const float *sums, const float *deltas, u16 *towards, u32 rows, u32 queries,
                                                                      u32 keys, float scale) {
    __shared__ __align__(16) u16 key_tile[FEW * STRIDE];
    __shared__ __align__(16) u16 value_tile[FEW * STRIDE];
    const Queries own = blocks[blockIdx.x];
    const u32 head = blockIdx.y, shared = head / (queries / keys);
    const size_t stride = (size_t)(queries + 2 * keys) * WIDTH;
    const u16 *key = heads + (queries + shared) * WIDTH, *value = heads + (queries + keys + shared) * WIDTH;
    const int warp = threadIdx.x >> 5, g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    const float steep = scale * LOG2_E;

    u32 query[STEPS][4], slope[STEPS][4];
    fragments(query, heads + head * WIDTH, warp * 16, own.count, [&](int index) { return (own.row + index) * stride; });
    fragments(slope, slopes, warp * 16, own.count, [&](int index) { return ((size_t)(own.row + index) * queries + head) * WIDTH; });
    float sum[2], delta[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 index = warp * 16 + g + 8 * half;
        const size_t at = (size_t)head * rows + own.row + index;
        sum[half] = index < own.count ? sums[at] : 0.0f;
        delta[half] = index < own.count ? deltas[at] : 0.0f;
    }
    float found[PARTS][4] = {};
    const int seen = own.position + own.count;
    for (int first = 0; first < seen; first += FEW) {
        const auto place = [&](int index) { return paths[own.path + first + index] * stride; };
        __syncthreads();
        bring(key_tile, key, FEW, seen - first, place);
        bring(value_tile, value, FEW, seen - first, place);
        __syncthreads();
        float scores[FEW / 8][4], shares[FEW / 8][4];
        along<FEW / 8>(scores, query, key_tile);
        along<FEW / 8>(shares, slope, value_tile);
#pragma unroll
        for (int part = 0; part < FEW / 8; part++)
#pragma unroll
            for (int at = 0; at < 4; at++) {
                const int half = at >> 1, index = warp * 16 + g + 8 * half;
                const bool sees = first + part * 8 + 2 * t + (at & 1) <= (int)own.position + index && index < (int)own.count;
                const float share = sees ? exp2f(scores[part][at] * steep - sum[half]) : 0.0f;
                scores[part][at] = share * (shares[part][at] - delta[half]) * scale;
            }
        onto<FEW / 8>(found, scores, key_tile);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const u32 index = warp * 16 + g + 8 * half;
        if (index >= own.count) continue;
        u32 *to = (u32 *)(towards + ((size_t)(own.row + index) * queries + head) * WIDTH);
#pragma unroll
        for (int part = 0; part < PARTS; part++) to[part * 4 + t] = packed(found[part][2 * half], found[part][2 * half + 1]);
    }
}

// The gradients of one block of keys and of their values, through one segment and all heads that share them, added to `towards`,
// [rows, 2 * keys * WIDTH] in f32, keys before values.
extern "C" __global__ void __launch_bounds__(THREADS) towards_keys(const u16 *heads, const u32 *paths, const Keys *blocks, const u16 *slopes,
                                                                   const float *sums, const float *deltas, float *towards, u32 rows, u32 queries,
                                                                   u32 keys, float scale) {
    __shared__ __align__(16) u16 query_tile[FEW * STRIDE];
    __shared__ __align__(16) u16 slope_tile[FEW * STRIDE];
    __shared__ float sum[FEW], delta[FEW];
    const Keys own = blocks[blockIdx.x];
    const u32 shared = blockIdx.y, group = queries / keys;
    const size_t stride = (size_t)(queries + 2 * keys) * WIDTH;
    const int warp = threadIdx.x >> 5, g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
    const float steep = scale * LOG2_E;

    u32 key[STEPS][4], value[STEPS][4];
    const auto place = [&](int index) { return paths[own.path + index] * stride; };
    fragments(key, heads + (queries + shared) * WIDTH, warp * 16, own.count, place);
    fragments(value, heads + (queries + keys + shared) * WIDTH, warp * 16, own.count, place);
    float towards_key[PARTS][4] = {}, towards_value[PARTS][4] = {};
    // The first query that sees any of these keys.
    const int start = own.position > own.first ? own.position - own.first : 0;
    for (u32 head = shared * group; head < (shared + 1) * group; head++)
        for (int first = start; first < (int)own.rows; first += FEW) {
            const int count = own.rows - first;
            __syncthreads();
            bring(query_tile, heads + head * WIDTH, FEW, count, [&](int index) { return (own.row + first + index) * stride; });
            bring(slope_tile, slopes, FEW, count, [&](int index) { return ((size_t)(own.row + first + index) * queries + head) * WIDTH; });
            if (threadIdx.x < FEW) {
                const size_t at = (size_t)head * rows + own.row + first + threadIdx.x;
                sum[threadIdx.x] = (int)threadIdx.x < count ? sums[at] : 0.0f;
                delta[threadIdx.x] = (int)threadIdx.x < count ? deltas[at] : 0.0f;
            }
            __syncthreads();
            float scores[FEW / 8][4], shares[FEW / 8][4];
            along<FEW / 8>(scores, key, query_tile);
            along<FEW / 8>(shares, value, slope_tile);
#pragma unroll
            for (int part = 0; part < FEW / 8; part++)
#pragma unroll
                for (int at = 0; at < 4; at++) {
                    const int index = warp * 16 + g + 8 * (at >> 1), column = part * 8 + 2 * t + (at & 1);
                    const bool sees = own.position + index <= own.first + first + column && index < (int)own.count && column < count;
                    const float share = sees ? exp2f(scores[part][at] * steep - sum[column]) : 0.0f;
                    scores[part][at] = share * (shares[part][at] - delta[column]) * scale;
                    shares[part][at] = share;
                }
            onto<FEW / 8>(towards_value, shares, slope_tile);
            onto<FEW / 8>(towards_key, scores, query_tile);
        }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int index = warp * 16 + g + 8 * half;
        if (index >= (int)own.count) continue;
        float *to_key = towards + ((size_t)paths[own.path + index] * 2 * keys + shared) * WIDTH, *to_value = to_key + keys * WIDTH;
#pragma unroll
        for (int part = 0; part < PARTS; part++)
#pragma unroll
            for (int side = 0; side < 2; side++) {
                atomicAdd(to_key + part * 8 + 2 * t + side, towards_key[part][2 * half + side]);
                atomicAdd(to_value + part * 8 + 2 * t + side, towards_value[part][2 * half + side]);
            }
    }
}

// Turns queries and keys of a row to its position: [rows, (turned + keys) * WIDTH], the last `keys` heads of which are values. A block a row.
extern "C" __global__ void turn(const u16 *from, const u32 *positions, const float *cosines, const float *sines, u16 *to, u32 turned, u32 keys) {
    const size_t start = (size_t)blockIdx.x * (turned + keys) * WIDTH;
    const size_t place = (size_t)positions[blockIdx.x] * (WIDTH / 2);
    for (u32 at = threadIdx.x; at < (turned + keys) * (WIDTH / 2); at += blockDim.x) {
        const u32 head = at / (WIDTH / 2), index = at % (WIDTH / 2);
        const size_t one = start + head * WIDTH + index, other = one + WIDTH / 2;
        const float cosine = head < turned ? cosines[place + index] : 1.0f, sine = head < turned ? sines[place + index] : 0.0f;
        const float x = widened(from[one]), y = widened(from[other]);
        to[one] = rounded(x * cosine - y * sine);
        to[other] = rounded(y * cosine + x * sine);
    }
}

// The gradient of `turn`: of queries, [rows, queries * WIDTH], and of keys and values, [rows, 2 * keys * WIDTH], to that of all of them.
extern "C" __global__ void turn_back(const u16 *of_queries, const float *of_keys, const u32 *positions, const float *cosines, const float *sines, u16 *to,
                                     u32 queries, u32 keys) {
    const size_t row = blockIdx.x, place = (size_t)positions[row] * (WIDTH / 2);
    const u32 heads = queries + 2 * keys;
    for (u32 at = threadIdx.x; at < heads * (WIDTH / 2); at += blockDim.x) {
        const u32 head = at / (WIDTH / 2), index = at % (WIDTH / 2);
        const size_t one = (row * heads + head) * WIDTH + index;
        const bool turned = head < queries + keys;
        const float cosine = turned ? cosines[place + index] : 1.0f, sine = turned ? sines[place + index] : 0.0f;
        float x, y;
        if (head < queries) {
            const u16 *own = of_queries + (row * queries + head) * WIDTH + index;
            x = widened(own[0]), y = widened(own[WIDTH / 2]);
        } else {
            const float *own = of_keys + (row * 2 * keys + head - queries) * WIDTH + index;
            x = own[0], y = own[WIDTH / 2];
        }
        to[one] = rounded(x * cosine + y * sine);
        to[one + WIDTH / 2] = rounded(y * cosine - x * sine);
    }
}

// The sum over a block of whole warps; every thread gets it.
__device__ float all_summed(float number) {
    __shared__ float parts[32];
    for (int apart = 16; apart; apart >>= 1) number += __shfl_xor_sync(0xffffffffu, number, apart);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = number;
    __syncthreads();
    number = 0.0f;
    for (u32 warp = 0; warp < blockDim.x / 32; warp++) number += parts[warp];
    return number;
}

__device__ float all_highest(float number) {
    __shared__ float parts[32];
    for (int apart = 16; apart; apart >>= 1) number = fmaxf(number, __shfl_xor_sync(0xffffffffu, number, apart));
    __syncthreads();
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = number;
    __syncthreads();
    number = parts[0];
    for (u32 warp = 1; warp < blockDim.x / 32; warp++) number = fmaxf(number, parts[warp]);
    return number;
}

// Root mean square norm of [rows, columns]. A block a row.
extern "C" __global__ void rms_norm(const float *from, const float *weight, u16 *to, u32 columns, float epsilon) {
    const float *row = from + (size_t)blockIdx.x * columns;
    float squares = 0.0f;
    for (u32 at = threadIdx.x; at < columns; at += blockDim.x) squares += row[at] * row[at];
    const float inverse = rsqrtf(all_summed(squares) / columns + epsilon);
    for (u32 at = threadIdx.x; at < columns; at += blockDim.x) to[(size_t)blockIdx.x * columns + at] = rounded(row[at] * inverse * weight[at]);
}

// Its gradient: `towards` is [rows, columns], `towards_weight` [columns] is added to. Each block takes every so many rows.
extern "C" __global__ void rms_norm_back(const float *from, const float *weight, const u16 *slopes, float *towards, float *towards_weight, u32 rows, u32 columns,
                                     float epsilon) {
    extern __shared__ float sums[];
    for (u32 at = threadIdx.x; at < columns; at += blockDim.x) sums[at] = 0.0f;
    for (size_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const float *x = from + row * columns;
        const u16 *slope = slopes + row * columns;
        float squares = 0.0f, common = 0.0f;
        for (u32 at = threadIdx.x; at < columns; at += blockDim.x) {
            squares += x[at] * x[at];
            common += x[at] * widened(slope[at]) * weight[at];
        }
        const float inverse = rsqrtf(all_summed(squares) / columns + epsilon);
        const float along = all_summed(common) * inverse * inverse * inverse / columns;
        for (u32 at = threadIdx.x; at < columns; at += blockDim.x) {
            const float own = widened(slope[at]);
            towards[row * columns + at] = own * weight[at] * inverse - x[at] * along;
            sums[at] += own * x[at] * inverse;
        }
    }
    for (u32 at = threadIdx.x; at < columns; at += blockDim.x) atomicAdd(towards_weight + at, sums[at]);
}

#define EACH(at, count) \
    for (size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x; at < (count); at += (size_t)gridDim.x * blockDim.x)

// What comes of a product, onto the residual stream.
extern "C" __global__ void onto_stream(const float *stream, const u16 *more, float *to, u64 count) {
    EACH(at, count) to[at] = stream[at] + widened(more[at]);
}

// silu(gate) * up of [rows, 2 * width], gate before up.
extern "C" __global__ void gate(const u16 *both, u16 *to, u32 rows, u32 width) {
    EACH(at, (size_t)rows * width) {
        const u16 *row = both + at / width * 2 * width + at % width;
        const float x = widened(row[0]);
        to[at] = rounded(x / (1.0f + __expf(-x)) * widened(row[width]));
    }
}

extern "C" __global__ void gate_back(const u16 *both, const u16 *slopes, u16 *towards, u32 rows, u32 width) {
    EACH(at, (size_t)rows * width) {
        const size_t place = at / width * 2 * width + at % width;
        const float x = widened(both[place]), up = widened(both[place + width]), slope = widened(slopes[at]);
        const float open = 1.0f / (1.0f + __expf(-x));
        towards[place] = rounded(slope * up * open * (1.0f + x * (1.0f - open)));
        towards[place + width] = rounded(slope * x * open);
    }
}

// The loss of each row of [rows, words], whose logits become its slopes. A block a row.
extern "C" __global__ void next_tokens(u16 *logits, const u32 *targets, float *losses, u32 words) {
    u16 *row = logits + (size_t)blockIdx.x * words;
    const u32 target = targets[blockIdx.x];
    float most = LOWEST;
    for (u32 at = threadIdx.x; at < words; at += blockDim.x) most = fmaxf(most, widened(row[at]));
    most = all_highest(most);
    float sum = 0.0f;
    for (u32 at = threadIdx.x; at < words; at += blockDim.x) sum += __expf(widened(row[at]) - most);
    sum = all_summed(sum);
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) + most - widened(row[target]);
    __syncthreads();
    for (u32 at = threadIdx.x; at < words; at += blockDim.x)
        row[at] = rounded(__expf(widened(row[at]) - most) / sum - (at == target ? 1.0f : 0.0f));
}

// AdamW, as `learner/adamw.rs` walks; `held` are the weights as products have them, where they are held so.
extern "C" __global__ void adamw(float *weights, float *first, float *second, const float *gradient, u16 *held, u64 count, float scale, float beta, float gamma,
                                 float rate, float unbias, float keep, float epsilon) {
    EACH(at, count) {
        const float slope = gradient[at] * scale;
        const float mean = first[at] = beta * first[at] + (1.0f - beta) * slope;
        const float square = second[at] = gamma * second[at] + (1.0f - gamma) * slope * slope;
        const float weight = weights[at] = weights[at] * keep - rate * mean / (sqrtf(square * unbias) + epsilon);
        if (held) held[at] = rounded(weight);
    }
}

// Adds row after row of `from`, [count, columns], to the rows of `to` that `places` names.
extern "C" __global__ void add_rows(const u32 *places, const float *from, float *to, u32 count, u32 columns) {
    EACH(at, (size_t)count * columns)
        atomicAdd(to + (size_t)places[at / columns] * columns + at % columns, from[at]);
}

__device__ __forceinline__ u64 mixed(u64 word) {
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
    return word ^ (word >> 31);
}

__device__ __forceinline__ u32 mixed_32(u32 word) {
    word = (word ^ (word >> 16)) * 0x7feb352du;
    word = (word ^ (word >> 15)) * 0x846ca68bu;
    return word ^ (word >> 16);
}

// The factor of a place, as `products/dropout.rs` draws it.
__device__ __forceinline__ float kept(u64 key, u64 row, u32 column, u32 limit, float scale) {
    const u64 word = mixed(key ^ mixed(row));
    return mixed_32(column * ((u32)word | 1u) + (u32)(word >> 32)) < limit ? 0.0f : scale;
}

extern "C" __global__ void drop_halves(const u16 *from, u16 *to, u64 key, u64 first_row, u32 limit, float scale, u32 rows, u32 columns) {
    EACH(at, (size_t)rows * columns)
        to[at] = rounded(widened(from[at]) * kept(key, first_row + at / columns, at % columns, limit, scale));
}

extern "C" __global__ void drop_floats(const float *from, float *to, u64 key, u64 first_row, u32 limit, float scale, u32 rows, u32 columns) {
    EACH(at, (size_t)rows * columns)
        to[at] = from[at] * kept(key, first_row + at / columns, at % columns, limit, scale);
}
