// Softmax with dropout of a block of attention scores, and its gradient: one pass over memory each.
#pragma once
#include "kernels.h"

namespace thinned {

// Rows of a block, contiguous in memory; row r's first element has index first + r * step in the mask of all weights.
struct ScoreRows {
    int64_t rows, columns;
    uint64_t first, step;
};

// scores := dropout(softmax(scores)); lse[r] := log of the sum of the exponentials of row r, infinity where no score is
// finite (the row becomes 0).
void attention_forward(float *scores, float *lse, const ScoreRows &block, const Address &address, int threads);

// Where P = exp(scores - lse): scores := dropout(P), grads := P * (dropout(grads) - delta[r]), the gradient of the scores.
void attention_backward(float *scores, float *grads, const float *lse, const float *delta, const ScoreRows &block,
                        const Address &address, int threads);

}  // namespace thinned
