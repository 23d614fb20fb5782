// Attention over a paged cache, with normalization and rotation of heads and the cache's writing.
//
// Keys are taken in tiles of 64 counted from the sequence's start, tiles in splits of 512, and both
// are merged in order by their largest score (online softmax, arXiv 1805.02867; split keys as in
// Flash-Decoding). How rows and splits are dealt to threads is therefore not seen in a result.

#pragma once

#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

constexpr int TILE = 64;          // keys between two looks at the largest score
constexpr int UNITS = TILE / LANES;
constexpr int SPLIT = 512;        // keys of one partial result
constexpr int QUERY_TOKENS = 16;  // tokens of a chunk that one task takes
constexpr int ROWS = 4;           // rows that share the loads of keys and values
constexpr int MAX_DIM = 256;
constexpr float LOWEST = -1e30f;  // finite, so that differences of two of them are

struct Shape {
  int64_t heads, kv_heads, dim, block_size, threads;
  float scale;
};

struct Step {
  const int64_t* positions;     // [tokens]
  const int64_t* slots;         // [tokens]
  const int64_t* query_starts;  // [sequences + 1]
  const int64_t* tables;        // [sequences, table_width]
  int64_t tokens, sequences, table_width;
};

// Queries, keys and values of a token lie `stride` elements after those of the one before it.
struct Inputs {
  const void *q, *k, *v;
  int64_t stride;
  const void *cos, *sin;  // null: positions are rotated in already
  int64_t angle_stride;
  const int64_t* angle_rows;  // [tokens], where a token's angles are; null: in the tokens' order
  const void* gain;  // [heads + kv heads, dim]; null: heads are not normalized
  float eps;
};

template <class T>
void read_head(const Inputs& in, const T* from, int64_t token, int head, int dim, float* x) {
  for (int i = 0; i < dim; i += LANES) store(x + i, load(from + i));
  if (in.gain) {
    Floats squares{};
    for (int i = 0; i < dim; i += LANES) squares += load(x + i) * load(x + i);
    const float root = 1.0f / std::sqrt(sum(squares) / dim + in.eps);
    const T* gain = static_cast<const T*>(in.gain) + int64_t(head) * dim;
    for (int i = 0; i < dim; i += LANES) store(x + i, load(x + i) * root * load(gain + i));
  }
  if (in.cos) {
    float swapped[MAX_DIM];
    std::memcpy(swapped, x + dim / 2, dim / 2 * sizeof(float));
    std::memcpy(swapped + dim / 2, x, dim / 2 * sizeof(float));
    const int64_t row = in.angle_rows ? in.angle_rows[token] : token;
    const T* cos = static_cast<const T*>(in.cos) + row * in.angle_stride;
    const T* sin = static_cast<const T*>(in.sin) + row * in.angle_stride;
    for (int i = 0; i < dim; i += LANES)
      store(x + i, load(x + i) * load(cos + i) + load(swapped + i) * load(sin + i));
  }
}

// A token's queries to `queries` [tokens, heads, dim]; its keys and values to the cache. There keys
// lie as weights of a product do (see linear.h): sixteen keys are a unit, whose numbers lie in the
// order of the head's dimension.
template <class T>
void read_token(const Shape& s, const Step& step, const Inputs& in, int64_t token, T* queries,
                T* keys, T* values) {
  const int dim = s.dim;
  float x[MAX_DIM];
  for (int h = 0; h < s.heads; ++h) {
    T* q = queries + (token * s.heads + h) * dim;
    read_head<T>(in, static_cast<const T*>(in.q) + token * in.stride + h * dim, token, h, dim, x);
    for (int i = 0; i < dim; i += LANES) store(q + i, load(x + i));
  }
  const int64_t block = step.slots[token] / s.block_size, at = step.slots[token] % s.block_size;
  for (int h = 0; h < s.kv_heads; ++h) {
    const int64_t row = ((block * s.kv_heads + h) * s.block_size + at) * dim;
    const int64_t offset = token * in.stride + h * dim;
    read_head<T>(in, static_cast<const T*>(in.k) + offset, token, s.heads + h, dim, x);
    T key[MAX_DIM], *unit = keys + row - at % LANES * dim;
    for (int i = 0; i < dim; i += LANES) store(key + i, load(x + i));
    for (int i = 0; i < dim; i += STEP<T>)
      std::memcpy(unit + i * LANES + at % LANES * STEP<T>, key + i, STEP<T> * sizeof(T));
    std::memcpy(values + row, static_cast<const T*>(in.v) + offset, dim * sizeof(T));
  }
}

// What a row knows of some of its keys: its largest score, and sums weighted against that.
struct Partial {
  float most = LOWEST, weight = 0;
  float out[MAX_DIM];
};

void merge(Partial& into, const Partial& next, int dim) {
  const float most = std::max(into.most, next.most);
  const float a = exponential(into.most - most), b = exponential(next.most - most);
  for (int i = 0; i < dim; i += LANES)
    store(into.out + i, load(into.out + i) * a + load(next.out + i) * b);
  into.weight = into.weight * a + next.weight * b;
  into.most = most;
}

// `R` rows over the keys [first, last) of one split; `positions` are those of the rows.
template <class T, int R, int DIM>
void attend_rows(const Shape& s, const int64_t* table, int kv_head, const T* keys, const T* values,
                 const T* const* q, const int64_t* positions, int64_t window, int64_t first,
                 int64_t last, Partial* const* result) {
  constexpr int STEPS = DIM / LANES;
  Floats out[R][STEPS] = {}, weights[R] = {};
  float most[R];
  for (int r = 0; r < R; ++r) most[r] = LOWEST;
  const auto place = [&](int64_t key) {
    const int64_t block = table[key / s.block_size];
    return ((block * s.kv_heads + kv_head) * s.block_size + key % s.block_size) * DIM;
  };
  const int64_t last_unit = (last - 1) / LANES * LANES;
  Floats count;
  for (int i = 0; i < LANES; ++i) count[i] = float(i);
  for (int64_t tile = first; tile < last; tile += TILE) {
    alignas(64) float score[R][TILE];
    const T* k[UNITS];  // those behind the last key are never seen: any other stands in
    for (int u = 0; u < UNITS; ++u) k[u] = keys + place(std::min(tile + u * LANES, last_unit));
    Floats dot[R][UNITS] = {};
    for (int d = 0; d < DIM; d += STEP<T>)
      for (int r = 0; r < R; ++r)
        for (int u = 0; u < UNITS; ++u)
          dot[r][u] = multiply_add(dot[r][u], q[r] + d, terms(k[u] + d * LANES, T()));
    for (int r = 0; r < R; ++r) {
      const float newest = float(positions[r] - tile);
      for (int u = 0; u < UNITS; ++u) {
        const Floats number = count + float(u * LANES);
        Floats value = number > newest ? all(LOWEST) : dot[r][u] * s.scale;
        if (window > 0) value = number <= newest - float(window) ? all(LOWEST) : value;
        store(score[r] + u * LANES, value);
      }
    }
    for (int r = 0; r < R; ++r) {
      Floats top = load(score[r]);
      for (int i = LANES; i < TILE; i += LANES) top = larger(top, load(score[r] + i));
      const float next = std::max(most[r], largest(top));
      const float fade = exponential(most[r] - next);
      most[r] = next;
      weights[r] = weights[r] * fade;
      for (int c = 0; c < STEPS; ++c) out[r][c] = out[r][c] * fade;
      for (int i = 0; i < TILE; i += LANES) {
        const Floats raw = load(score[r] + i);
        const Floats w = raw == all(LOWEST) ? Floats{} : exponential(raw - next);
        store(score[r] + i, w);
        weights[r] += w;
      }
    }
    const int64_t seen = std::min<int64_t>(TILE, last - tile);
    for (int64_t part = 0; part < seen; part += LANES) {
      const T* v = values + place(tile + part);
      const int64_t here = std::min<int64_t>(LANES, seen - part);
      for (int64_t i = 0; i < here; ++i)
        for (int c = 0; c < STEPS; ++c) {
          const Floats value = load(v + i * DIM + c * LANES);
          for (int r = 0; r < R; ++r) out[r][c] += score[r][part + i] * value;
        }
    }
  }
  for (int r = 0; r < R; ++r) {
    result[r]->most = most[r];
    result[r]->weight = sum(weights[r]);
    for (int c = 0; c < STEPS; ++c) store(result[r]->out + c * LANES, out[r][c]);
  }
}

struct Task {
  int64_t sequence, first_token, tokens;  // rows of these tokens of the batch
  int64_t split;                          // -1: all splits, one after the other
  int64_t partial;                        // where the partial results go, for a single split
  int kv_head;
};

// What is to be done for a step by layers of one window, cut so that threads can share it.
struct Plan {
  const Shape& s;
  const Step& step;
  int64_t window;
  std::vector<Task> tasks;
  std::vector<int64_t> merges;  // first tasks of those whose partial results belong together
  int64_t num_partials = 0;

  Plan(const Shape& shape, const Step& step, int64_t window)
      : s(shape), step(step), window(window) {
    for (int64_t n = 0; n < step.sequences; ++n) {
      const int64_t begin = step.query_starts[n], end = step.query_starts[n + 1];
      for (int head = 0; head < s.kv_heads; ++head) {
        if (end - begin > 1)
          for (int64_t t = begin; t < end; t += QUERY_TOKENS)
            tasks.push_back({n, t, std::min<int64_t>(QUERY_TOKENS, end - t), -1, 0, head});
        else
          split_keys(n, begin, head);
      }
    }
  }

  void split_keys(int64_t sequence, int64_t token, int head) {
    merges.push_back(tasks.size());
    const int64_t last = step.positions[token] / SPLIT;
    for (int64_t split = first_split(step.positions[token]); split <= last; ++split) {
      tasks.push_back({sequence, token, 1, split, num_partials, head});
      num_partials += s.heads / s.kv_heads;
    }
  }

  int64_t first_split(int64_t position) const {
    const int64_t oldest = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
    return oldest / SPLIT;
  }

  // Whether a task has the next keys of the same row as the one before it.
  bool continues(int64_t task) const {
    if (task == int64_t(tasks.size())) return false;
    const Task &before = tasks[task - 1], &now = tasks[task];
    return now.sequence == before.sequence && now.kv_head == before.kv_head &&
           now.split > before.split;
  }
};

// Queries and partial results between the phases of one layer.
template <class T>
struct AttentionSpace {
  std::vector<T> queries;
  std::vector<Partial> partials;

  void make_room(const Plan& plan) {
    const int64_t size = plan.step.tokens * plan.s.heads * plan.s.dim;
    if (int64_t(queries.size()) < size) queries.resize(size);
    if (int64_t(partials.size()) < plan.num_partials) partials.resize(plan.num_partials);
  }
};

template <class T, int DIM>
void run_split(const Plan& plan, const Task& task, int64_t split, const T* queries,
               const T* keys, const T* values, Partial* results) {
  const Shape& s = plan.s;
  const int64_t* table = plan.step.tables + task.sequence * plan.step.table_width;
  const int group = s.heads / s.kv_heads;
  const int64_t rows = task.tokens * group, newest =
      plan.step.positions[task.first_token + task.tokens - 1];
  const int64_t first = split * SPLIT, last = std::min<int64_t>(first + SPLIT, newest + 1);
  for (int64_t row = 0; row < rows;) {
    const int64_t take = std::min<int64_t>(ROWS, rows - row);
    const T* q[ROWS];
    int64_t positions[ROWS];
    Partial* result[ROWS];
    for (int r = 0; r < take; ++r) {
      const int64_t token = task.first_token + (row + r) / group;
      const int64_t head = task.kv_head * group + (row + r) % group;
      q[r] = queries + (token * s.heads + head) * DIM;
      positions[r] = plan.step.positions[token];
      result[r] = results + row + r;
    }
    const auto run = [&](auto count) {
      attend_rows<T, decltype(count)::value, DIM>(s, table, task.kv_head, keys, values, q,
                                                  positions, plan.window, first, last, result);
    };
    switch (take) {
      case 1: run(std::integral_constant<int, 1>()); break;
      case 2: run(std::integral_constant<int, 2>()); break;
      case 3: run(std::integral_constant<int, 3>()); break;
      default: run(std::integral_constant<int, ROWS>());
    }
    row += take;
  }
}

template <class T>
void write_row(const Partial& p, int dim, T* to) {
  const float scale = 1.0f / p.weight;
  for (int i = 0; i < dim; i += LANES) store(to + i, load(p.out + i) * scale);
}

template <class T, int DIM>
void run_task(const Plan& plan, const Task& task, const T* queries, const T* keys,
              const T* values, Partial* partials, T* out) {
  const Shape& s = plan.s;
  if (task.split >= 0) {
    run_split<T, DIM>(plan, task, task.split, queries, keys, values, partials + task.partial);
    return;
  }
  const int group = s.heads / s.kv_heads;
  const int64_t rows = task.tokens * group;
  const int64_t oldest = plan.step.positions[task.first_token];
  const int64_t newest = plan.step.positions[task.first_token + task.tokens - 1];
  static thread_local std::vector<Partial> whole, next;
  whole.resize(rows);
  next.resize(rows);
  int64_t split = plan.first_split(oldest);
  run_split<T, DIM>(plan, task, split, queries, keys, values, whole.data());
  for (++split; split * SPLIT <= newest; ++split) {
    run_split<T, DIM>(plan, task, split, queries, keys, values, next.data());
    for (int64_t row = 0; row < rows; ++row) {
      // Keys that only later rows of the task can see, or that this row's window has left.
      const int64_t position = plan.step.positions[task.first_token + row / group];
      if (split * SPLIT > position) continue;
      if (split <= plan.first_split(position))
        whole[row] = next[row];
      else
        merge(whole[row], next[row], DIM);
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t token = task.first_token + row / group;
    const int64_t head = task.kv_head * group + row % group;
    write_row(whole[row], DIM, out + (token * s.heads + head) * DIM);
  }
}

// By all threads of a team: writes the step's keys and values, then its attention to `out`.
template <class T, int DIM>
void attend(const Plan& plan, AttentionSpace<T>& space, const Inputs& in, T* keys, T* values, T* out) {
  const Shape& s = plan.s;
  const int64_t num_tasks = plan.tasks.size(), num_merges = plan.merges.size();
  const int group = s.heads / s.kv_heads;
  T* queries = space.queries.data();
  Partial* partials = space.partials.data();
#pragma omp for schedule(static)
  for (int64_t t = 0; t < plan.step.tokens; ++t)
    read_token<T>(s, plan.step, in, t, queries, keys, values);
#pragma omp for schedule(dynamic, 1)
  for (int64_t t = 0; t < num_tasks; ++t)
    run_task<T, DIM>(plan, plan.tasks[t], queries, keys, values, partials, out);
#pragma omp for schedule(static)
  for (int64_t n = 0; n < num_merges; ++n) {
    const int64_t first = plan.merges[n];
    const Task& task = plan.tasks[first];
    Partial* whole = partials + task.partial;
    for (int64_t t = first + 1; plan.continues(t); ++t)
      for (int r = 0; r < group; ++r) merge(whole[r], partials[plan.tasks[t].partial + r], DIM);
    for (int r = 0; r < group; ++r)
      write_row(whole[r], DIM, out + (task.first_token * s.heads + task.kv_head * group + r) * DIM);
  }
}

// False when the head's size is not one of those compiled.
template <class T>
bool attend_any(const Plan& plan, AttentionSpace<T>& space, const Inputs& in, T* keys, T* values,
                T* out) {
  switch (plan.s.dim) {
#ifdef DIGLOT_HEAD_DIM  // one size compiles in a third of the time of all
    case DIGLOT_HEAD_DIM: attend<T, DIGLOT_HEAD_DIM>(plan, space, in, keys, values, out); break;
#else
    case 16: attend<T, 16>(plan, space, in, keys, values, out); break;
    case 32: attend<T, 32>(plan, space, in, keys, values, out); break;
    case 64: attend<T, 64>(plan, space, in, keys, values, out); break;
    case 80: attend<T, 80>(plan, space, in, keys, values, out); break;
    case 96: attend<T, 96>(plan, space, in, keys, values, out); break;
    case 128: attend<T, 128>(plan, space, in, keys, values, out); break;
    case 256: attend<T, 256>(plan, space, in, keys, values, out); break;
#endif
    default: return false;
  }
  return true;
}

}  // namespace
