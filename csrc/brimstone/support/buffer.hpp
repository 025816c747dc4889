#pragma once

#include <cstddef>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace brimstone {

/// A large array of plain numbers that nobody has written yet: each page is placed where the thread that
/// first writes it runs. Aligned for vector loads; on Linux in huge pages, as the prefetchers end at a page.
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
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
        if (data_ != nullptr) {
            ::operator delete(data_, std::align_val_t{alignment(size_)});
        }
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    std::size_t bytes() const { return size_ * sizeof(T); }
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
};

} // namespace brimstone
