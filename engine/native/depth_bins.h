// Where the best tokens of a row end that have a certain weight together, when they are a large part
// of all: what they weigh is added up by how far below the largest logit they are, and only those of
// the bin that the end falls into are looked at one by one.

#pragma once

#include "candidates.h"

namespace {

// Bins of logits by their distance from the largest one; all from `deepest` on are in the last.
struct DepthBins {
  static constexpr int COUNT = 1024, LAST = COUNT - 1;

  const float most, scale;

  DepthBins(float most, float deepest) : most(most), scale(COUNT / deepest) {}

  // Of sixteen logits; what is no number is in the first.
  void of(const Floats& z, int32_t* to) const {
    const Floats depth = smaller(larger((z - most) * -scale, all(0)), all(LAST));
    for (int i = 0; i < LANES; i += PART) {
      const IntPart bins = __builtin_convertvector(part_of(depth, i), IntPart);
      std::memcpy(to + i, &bins, sizeof bins);
    }
  }

  int of(float z) const {
    int32_t bins[LANES];
    of(all(z), bins);
    return bins[0];
  }
};

// Adds up weights by bins.
struct BinWeights {
  std::vector<int64_t> sums = std::vector<int64_t>(DepthBins::COUNT);

  void clear() { std::fill(sums.begin(), sums.end(), 0); }

  void add(const DepthBins& bins, const Floats& z, const Weights& weights) {
    int32_t at[LANES];
    int64_t each[LANES];
    bins.of(z, at);
    std::memcpy(each, &weights, sizeof each);
    int64_t* to = sums.data();
    for (int lane = 0; lane < LANES; ++lane) to[at[lane]] += each[lane];
  }

  // The bin in which the best reach `wanted`, of which what is in better ones is taken.
  int reach(int64_t& wanted) const {
    int bin = 0;
    while (sums[bin] < wanted) wanted -= sums[bin++];
    return bin;
  }
};

}  // namespace
