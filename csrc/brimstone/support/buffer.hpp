#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace brimstone {

/// A large array of plain numbers that nobody has written yet: each page is placed where the thread that
/// first writes it runs. Aligned for vector loads; on Linux in huge pages, as the prefetchers end at a page.
/// Or one that somebody else has written and keeps, such as a mapped file; that must not be written.
template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t size) : size_(size) {
        if (size == 0) {
            return;
        }
        data_ = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{alignment(size)}));
#ifdef __linux__
        if (alignment(size) == huge_page) {
            madvise(data_, size * sizeof(T), MADV_HUGEPAGE);
        }
#endif
    }
    Buffer(std::size_t size, const T& value) : Buffer(size) { std::fill_n(data_, size, value); }
    /// @param keeper  holds `data` in memory
    Buffer(const T* data, std::size_t size, std::shared_ptr<const void> keeper)
        : data_(const_cast<T*>(data)), size_(size), keeper_(std::move(keeper)) {}
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)),
          keeper_(std::move(other.keeper_)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(keeper_, other.keeper_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (data_ != nullptr && keeper_ == nullptr) {
            ::operator delete(data_, std::align_val_t{alignment(size_)});
        }
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    std::size_t bytes() const { return size_ * sizeof(T); }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }
    const T* begin() const { return data_; }
    const T* end() const { return data_ + size_; }
    const T& back() const { return data_[size_ - 1]; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }

private:
    static constexpr std::size_t huge_page = std::size_t{2} * 1024 * 1024;
    static constexpr std::size_t cache_line = 64;
    static std::size_t alignment(std::size_t size) {
        return size * sizeof(T) >= 2 * huge_page ? huge_page : cache_line;
    }

    T* data_ = nullptr;
    std::size_t size_ = 0;
    std::shared_ptr<const void> keeper_; ///< null if the memory is this one's own
};

} // namespace brimstone
