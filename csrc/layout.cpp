#include "layout.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "decisions.h"
#include "threads.h"

namespace thinned {
namespace {

constexpr int64_t kSegment = 4096;  // elements of a row that one call of a kernel gets

struct Position {
    int64_t dst, src, residual, mask;

    void move(const Axis &axis, int64_t steps) {
        dst += axis.dst * steps, src += axis.src * steps, residual += axis.residual * steps, mask += axis.mask * steps;
    }
};

// Axes in the order of the output's memory, innermost last, with those that continue each other made one.
std::vector<Axis> collapsed(std::vector<Axis> axes) {
    axes.erase(std::remove_if(axes.begin(), axes.end(), [](const Axis &a) { return a.size == 1; }), axes.end());
    std::stable_sort(axes.begin(), axes.end(), [](const Axis &a, const Axis &b) { return std::abs(a.dst) > std::abs(b.dst); });
    std::vector<Axis> out;
    for (const Axis &inner : axes) {
        if (!out.empty()) {
            Axis &outer = out.back();
            const int64_t n = inner.size;
            if (outer.dst == n * inner.dst && outer.src == n * inner.src && outer.residual == n * inner.residual &&
                outer.mask == n * inner.mask) {
                outer = {outer.size * n, inner.dst, inner.src, inner.residual, inner.mask};
                continue;
            }
        }
        out.push_back(inner);
    }
    if (out.empty()) out.push_back({1, 1, 1, 1, 1});
    return out;
}

bool unit(const Axis &a) { return a.dst == 1 && a.src == 1 && a.residual == 1; }

// One member's loop over its elements. An item is a segment of a row along the innermost axis, or, where the mask runs
// along another axis than the memory does, a tile of the two.
class Loop {
public:
    explicit Loop(const std::vector<Axis> &axes) : outer_(collapsed(axes)) {
        inner_ = outer_.back();
        outer_.pop_back();
        if (unit(inner_) && inner_.mask != 0 && inner_.mask != 1)
            for (size_t j = 0; j < outer_.size(); ++j)
                if (outer_[j].mask == 1 && outer_[j].size >= 8) {
                    tiled_ = true;
                    along_mask_ = outer_[j];
                    outer_.erase(outer_.begin() + int64_t(j));
                    break;
                }
        segment_ = tiled_ ? kTileMemory : kSegment;
        segments_ = ceil_div(inner_.size, segment_);
        bands_ = tiled_ ? ceil_div(along_mask_.size, kTileMask) : 1;
        items_ = segments_ * bands_;
        for (const Axis &axis : outer_) items_ *= axis.size;
    }

    int64_t items() const { return items_; }

    // Calls visit(position, segment, band) for the items [begin, end).
    template <class Visit>
    void each(int64_t begin, int64_t end, Visit &&visit) const {
        if (begin >= end) return;
        int64_t at[kMaxAxes], left = begin;
        const int64_t segment = left % segments_, band = left / segments_ % bands_;
        left /= segments_ * bands_;
        Position position{0, 0, 0, 0};
        for (int64_t axis = int64_t(outer_.size()) - 1; axis >= 0; --axis) {
            at[axis] = left % outer_[size_t(axis)].size;
            left /= outer_[size_t(axis)].size;
            position.move(outer_[size_t(axis)], at[axis]);
        }
        for (int64_t item = begin, s = segment, b = band;;) {
            visit(position, s, b);
            if (++item == end) return;
            if (++s < segments_) continue;
            s = 0;
            if (++b < bands_) continue;
            b = 0;
            for (int64_t axis = int64_t(outer_.size()) - 1; axis >= 0; --axis) {
                const Axis &a = outer_[size_t(axis)];
                position.move(a, 1);
                if (++at[axis] < a.size) break;
                position.move(a, -a.size);
                at[axis] = 0;
            }
        }
    }

    static constexpr int64_t kMaxAxes = 64;  // PyTorch's own limit
    const Axis &inner() const { return inner_; }
    const Axis &along_mask() const { return along_mask_; }
    bool tiled() const { return tiled_; }
    // Whether the decisions after those of a row are those of another row.
    bool continued() const {
        const int64_t row = tiled_ ? along_mask_.size : inner_.mask == 0 ? 1 : inner_.size * inner_.mask;
        const auto follows = [row](const Axis &a) { return a.mask == row; };
        return std::any_of(outer_.begin(), outer_.end(), follows) || (tiled_ && follows(inner_));
    }
    // Whether a row's decisions are those of other rows as well.
    bool reused() const {
        return std::any_of(outer_.begin(), outer_.end(), [](const Axis &a) { return a.mask == 0; });
    }
    int64_t segment() const { return segment_; }

private:
    std::vector<Axis> outer_;
    Axis inner_{}, along_mask_{};
    bool tiled_ = false;
    int64_t segment_, segments_, bands_, items_;
};

template <class Item>
void gather_items(char *to, const char *from, int64_t stride, int64_t n) {
    for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * int64_t(sizeof(Item)), from + i * stride, sizeof(Item));
}
template <class Item>
void scatter_items(char *to, int64_t stride, const char *from, int64_t n) {
    for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * stride, from + i * int64_t(sizeof(Item)), sizeof(Item));
}

// Elements at a stride of bytes, made contiguous and back.
void gather(char *to, const char *from, int64_t stride, int64_t n, int64_t size) {
    if (size == 2) return gather_items<uint16_t>(to, from, stride, n);
    if (size == 4) return gather_items<uint32_t>(to, from, stride, n);
    gather_items<uint64_t>(to, from, stride, n);
}
void scatter(char *to, int64_t stride, const char *from, int64_t n, int64_t size) {
    if (size == 2) return scatter_items<uint16_t>(to, stride, from, n);
    if (size == 4) return scatter_items<uint32_t>(to, stride, from, n);
    scatter_items<uint64_t>(to, stride, from, n);
}

// A thread's work on one member after another.
class Worker {
public:
    Worker(Form form, Dtype dtype, const Operands &o) : form_(form), type_(int(dtype)), size_(kItemSize[type_]), base_(o) {}

    void run(const Loop &loop, const Position &member, uint64_t offset, const Address &a, int64_t begin, int64_t end) {
        address_ = a;
        keep_ = a.keep;
        reused_ = loop.reused();
        arithmetic_ = arithmetic_of(form_, a.keep);
        if (0 < keep_ && keep_ < 65536) decisions_.use(a, loop.continued() ? 4 : 1);
        loop.each(begin, end, [&](Position at, int64_t segment, int64_t band) {
            at.dst += member.dst, at.src += member.src, at.residual += member.residual;
            at.mask += int64_t(offset);
            const int64_t first = segment * loop.segment(), n = std::min(loop.segment(), loop.inner().size - first);
            at.move(loop.inner(), first);
            if (loop.tiled())
                tile(loop, at, band, n);
            else
                row(loop.inner(), at, n);
        });
    }

private:
    Operands operands(const Position &at) const {
        return {static_cast<char *>(base_.dst) + at.dst * size_, static_cast<const char *>(base_.src) + at.src * size_,
                base_.residual == nullptr ? nullptr : static_cast<const char *>(base_.residual) + at.residual * size_};
    }

    void row(const Axis &axis, Position at, int64_t n) {
        if (unit(axis)) return contiguous_row(axis.mask, operands(at), at.mask, n);
        // through buffers that make every operand contiguous
        for (int64_t done = 0, count; done < n; done += count, at.move(axis, count)) {
            count = std::min(kBuffer, n - done);
            const Operands o = operands(at);
            Operands buffered{axis.dst == 1 ? o.dst : dst_, o.src, o.residual};
            if (axis.src != 1) {
                gather(src_, static_cast<const char *>(o.src), axis.src * size_, count, size_);
                buffered.src = src_;
            }
            if (axis.residual != 1 && o.residual != nullptr) {
                gather(residual_, static_cast<const char *>(o.residual), axis.residual * size_, count, size_);
                buffered.residual = residual_;
            }
            contiguous_row(axis.mask, buffered, at.mask, count);
            if (axis.dst != 1) scatter(static_cast<char *>(o.dst), axis.dst * size_, dst_, count, size_);
        }
    }

    void contiguous_row(int64_t mask_stride, Operands o, int64_t mask, int64_t n) {
        if (keep_ == 0 || keep_ == 65536) return constant(o, keep_ != 0, n);
        const uint64_t index = uint64_t(mask);
        int64_t got;
        if (mask_stride == 0) {
            const uint8_t *bits = decisions_.at(index, 1, got);
            return constant(o, bits[index % 128 / 8] >> (index % 8) & 1, n);
        }
        for (int64_t done = 0; done < n; done += got) {
            const uint64_t first = index + uint64_t(done * mask_stride);
            if (mask_stride == 1 && first % 128 == 0 && n - done >= kFused && !reused_) {
                got = n - done;
                kernels().run[type_](o, first / 128, got, address_, arithmetic_, false);
            } else if (mask_stride == 1) {
                const int64_t head = int64_t(-first % 128);  // up to where a group begins
                const uint8_t *bits = decisions_.at(first, head != 0 && n - done >= kFused ? head : n - done, got);
                kernels().apply[type_](o, bits, int64_t(first % 128), got, arithmetic_);
            } else {
                got = std::min(kBuffer, n - done);
                strided_bits(first, mask_stride, got);
                kernels().apply[type_](o, bits_, 0, got, arithmetic_);
            }
            advance(o, got);
        }
    }

    void strided_bits(uint64_t index, int64_t stride, int64_t n) {
        std::memset(bits_, 0, sizeof bits_);
        const auto set = [&](int64_t e, uint64_t bit) { bits_[e >> 3] = uint8_t(bits_[e >> 3] | bit << (e & 7)); };
        if (stride <= kNear) {
            decisions_.copy(index, (n - 1) * stride + 1, near_);
            for (int64_t e = 0, at = 0; e < n; ++e, at += stride) set(e, near_[at / 64] >> (at % 64) & 1);
            return;
        }
        int64_t got;
        for (int64_t e = 0; e < n; ++e, index += uint64_t(stride))
            set(e, decisions_.at(index, 1, got)[index % 128 / 8] >> (index % 8) & 1);
    }

    // n elements along memory (inner axis) times a band along the mask: the decisions are fetched along the mask, and
    // their bits transposed.
    void tile(const Loop &loop, Position at, int64_t band, int64_t n) {
        const int64_t first = band * kTileMask, count = std::min(kTileMask, loop.along_mask().size - first);
        at.move(loop.along_mask(), first);
        if (!tile_used_) {  // bits past the end are read with those before it, never used
            std::memset(tile_, 0, sizeof tile_);
            std::memset(turned_, 0, sizeof turned_);
            tile_used_ = true;
        }
        const int64_t words = kTileMask / 64, bytes = kTileMemory / 8;
        for (int64_t i = 0; i < n; ++i)
            decisions_.copy(uint64_t(at.mask + i * loop.inner().mask), count, tile_ + i * words);
        if (n % 8 != 0) std::memset(tile_ + n * words, 0, size_t((8 - n % 8) * words * 8));
        kernels().turn(turned_, tile_, (n + 7) / 8 * 8, count);
        for (int64_t j = 0; j < count; ++j, at.move(loop.along_mask(), 1))
            kernels().apply[type_](operands(at), turned_ + j * bytes, 0, n, arithmetic_);
    }

    void constant(const Operands &o, bool kept, int64_t n) {
        if (keep_ == 65536 && form_ != Form::add) {
            if (o.dst != o.src) std::memcpy(o.dst, o.src, size_t(n * size_));
        } else {
            kernels().constant[type_](o, kept, n, arithmetic_);
        }
    }

    void advance(Operands &o, int64_t n) const {
        o.dst = static_cast<char *>(o.dst) + n * size_;
        o.src = static_cast<const char *>(o.src) + n * size_;
        if (o.residual != nullptr) o.residual = static_cast<const char *>(o.residual) + n * size_;
    }

    static constexpr int64_t kBuffer = 256;
    static constexpr int64_t kNear = 16;  // mask strides up to which the decisions between are worth fetching, too
    static constexpr int64_t kFused = 1024;  // elements from which deciding and applying in one loop pays
    Form form_;
    int type_;
    int64_t size_;
    Operands base_;
    Decisions decisions_;
    Arithmetic arithmetic_{};
    Address address_{};
    uint32_t keep_ = 0;
    bool reused_ = false, tile_used_ = false;
    alignas(64) char src_[kBuffer * 8], residual_[kBuffer * 8], dst_[kBuffer * 8];
    uint8_t bits_[kBuffer / 8 + 8];
    uint64_t near_[kBuffer * kNear / 64] = {};
    uint64_t tile_[kTileMemory * kTileMask / 64];
    uint8_t turned_[kTileMask * kTileMemory / 8 + 8];
};

// As if all elements shared one decision: the loop of a member that keeps or drops everything.
std::vector<Axis> without_mask(std::vector<Axis> axes) {
    for (Axis &axis : axes) axis.mask = 0;
    return axes;
}

// Whether the output is one stretch of memory.
bool dense(const std::vector<Axis> &axes, const MemberAxis &members, int64_t n) {
    int64_t last = (members.count - 1) * members.dst;
    for (const Axis &axis : axes) last += (axis.size - 1) * axis.dst;
    return last + 1 == members.count * n;
}

}  // namespace

void dropout_strided(Form form, Dtype dtype, const Operands &operands, const MemberAxis &members,
                     const std::vector<Axis> &axes, uint64_t offset, const Addresses &addresses, int threads) {
    int64_t n = 1;
    for (const Axis &axis : axes) n *= axis.size;
    if (n == 0 || members.count == 0) return;
    if (dense(axes, members, n)) prepare_output(operands, members.count * n * kItemSize[int(dtype)]);
    const Loop loop(axes), constant_loop(without_mask(axes));
    threads = int(std::clamp<int64_t>(members.count * n / kPerThread, 1, threads));
    const int64_t pieces = ceil_div(threads, members.count);  // of a member
    parallel_for(threads, members.count * pieces, [&](int64_t begin, int64_t end) {
        Worker worker(form, dtype, operands);
        for (int64_t unit = begin; unit < end; ++unit) {
            const int64_t member = unit / pieces, piece = unit % pieces;
            const Address address = addresses.of(member);
            const bool constant = address.keep == 0 || address.keep == 65536;
            const Loop &used = constant ? constant_loop : loop;
            const Position start{member * members.dst, member * members.src, member * members.residual, 0};
            worker.run(used, start, constant ? 0 : offset, address, used.items() * piece / pieces,
                       used.items() * (piece + 1) / pieces);
        }
    });
}

}  // namespace thinned
