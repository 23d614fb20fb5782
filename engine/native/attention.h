// Attention over a paged cache, with normalization and rotation of heads and the cache's writing.
//
// Keys are taken in tiles of 64 counted from the sequence's start, tiles in splits of 512, and both
// are merged in order by their largest score (split keys as in Flash-Decoding). How rows and splits
// are dealt to threads is therefore not seen in a result.

#pragma once

#include <type_traits>
#include <vector>

#include "attend_chains.h"
#include "attend_tiles.h"

namespace {

constexpr int SPLIT = 512;        // keys of one partial result
constexpr int QUERY_TOKENS = 16;  // tokens of a chunk that one task takes

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
  Room<T> queries;
  std::vector<Partial> partials;

  void make_room(const Plan& plan) {
    const int64_t rows = plan.step.tokens * plan.s.heads;
    grow(queries, (rows + TILE_ROWS) * plan.s.dim);  // a last tile reads on behind its rows
    if (int64_t(partials.size()) < plan.num_partials) partials.resize(plan.num_partials);
  }
};

// The rows of a task over the keys of one split; results: [rows].
template <class T, int DIM>
void run_split(const Plan& plan, const Task& task, int64_t split, const T* queries,
               const T* keys, const T* values, Partial* results) {
  const Shape& s = plan.s;
  const int64_t* table = plan.step.tables + task.sequence * plan.step.table_width;
  const int64_t group = s.heads / s.kv_heads, rows = task.tokens * group;
  const int64_t newest = plan.step.positions[task.first_token + task.tokens - 1];
  const int64_t first = split * SPLIT, last = std::min<int64_t>(first + SPLIT, newest + 1);
  const Stretch on{{table, s.block_size, s.kv_heads, task.kv_head, DIM},
                   first, last, plan.window, s.scale, s.cap};
  static thread_local std::vector<int64_t> positions;
  positions.resize(rows);
  for (int64_t row = 0; row < rows; ++row)
    positions[row] = plan.step.positions[task.first_token + row / group];
  const T* q = queries + query_at(s, plan.step, task.first_token, task.kv_head * group);
#ifdef __AMX_BF16__
  if constexpr (std::is_same_v<T, Bfloat> && DIM % TILE_TERMS == 0)
    return attend_by_tiles<DIM>(on, keys, values, q, positions.data(), rows, results);
#endif
  attend_by_chains<T, DIM>(on, keys, values, q, positions.data(), rows, results);
}

// `sinks` is that of all heads, see `Inputs`.
template <class T>
void write_head(const Partial& p, const float* sinks, int64_t token, int64_t head, int dim,
                Rows<T> out) {
  float scale = 1.0f / p.weight;
  if (sinks) {
    const float most = std::max(p.most, sinks[head]), keep = exponential(p.most - most);
    scale = keep / (p.weight * keep + exponential(sinks[head] - most));
  }
  for (int i = 0; i < dim; i += LANES)
    store(out.at(token, head * dim + i), load(p.out + i) * scale);
}

template <class T, int DIM>
void run_task(const Plan& plan, const Task& task, const float* sinks, const T* queries,
              const T* keys, const T* values, Partial* partials, Rows<T> out) {
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
    write_head(whole[row], sinks, token, task.kv_head * group + row % group, DIM, out);
  }
}

// By all threads of a team: writes the step's keys and values, then its attention to `out`.
template <class T, int DIM>
void attend(const Plan& plan, AttentionSpace<T>& space, const Inputs& in, T* keys, T* values,
            Rows<T> out) {
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
    run_task<T, DIM>(plan, plan.tasks[t], in.sinks, queries, keys, values, partials, out);
#pragma omp for schedule(static)
  for (int64_t n = 0; n < num_merges; ++n) {
    const int64_t first = plan.merges[n];
    const Task& task = plan.tasks[first];
    Partial* whole = partials + task.partial;
    for (int64_t t = first + 1; plan.continues(t); ++t)
      for (int r = 0; r < group; ++r) merge(whole[r], partials[plan.tasks[t].partial + r], DIM);
    for (int r = 0; r < group; ++r)
      write_head(whole[r], in.sinks, task.first_token, task.kv_head * group + r, DIM, out);
  }
}

// False when the head's size is not one of those compiled.
template <class T>
bool attend_any(const Plan& plan, AttentionSpace<T>& space, const Inputs& in, T* keys, T* values,
                Rows<T> out) {
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
