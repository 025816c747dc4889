#pragma once

#include <cstddef>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace brimstone {

/// Named arrays: all that is needed to go on later exactly where a search was left.
class Archive {
public:
    using Arrays = std::map<std::string, std::vector<double>>;

    Archive() = default;
    explicit Archive(Arrays arrays) : arrays_(std::move(arrays)) {}

    const Arrays& arrays() const { return arrays_; }

    void put(const std::string& name, std::vector<double> array) { arrays_[name] = std::move(array); }
    void put(const std::string& name, double number) { arrays_[name] = {number}; }
    /// Arrays of one size, one after the other.
    template <class Container>
    void put_all(const std::string& name, const Container& arrays) {
        std::vector<double>& all = arrays_[name];
        for (const auto& array : arrays) {
            all.insert(all.end(), array.begin(), array.end());
        }
    }

    /// @throws std::invalid_argument  when there is no array of that name or it has another size
    const std::vector<double>& array(const std::string& name) const {
        const auto found = arrays_.find(name);
        if (found == arrays_.end()) {
            throw std::invalid_argument("the checkpoint has no array '" + name + "'");
        }
        return found->second;
    }
    const std::vector<double>& array(const std::string& name, std::size_t size) const {
        const std::vector<double>& found = array(name);
        if (found.size() != size) {
            throw std::invalid_argument("the checkpoint's array '" + name + "' has " +
                                        std::to_string(found.size()) + " entries, not " +
                                        std::to_string(size) + ": it belongs to another plan");
        }
        return found;
    }
    double number(const std::string& name) const { return array(name, 1).front(); }
    int count(const std::string& name) const { return to_count(name, number(name)); }
    static int to_count(const std::string& name, double number) {
        return static_cast<int>(to_index(name, number, std::numeric_limits<int>::max()));
    }
    /// A whole number from 0 to below `end`.
    std::size_t index(const std::string& name, std::size_t end) const {
        return to_index(name, number(name), end);
    }
    static std::size_t to_index(const std::string& name, double number, std::size_t end) {
        if (!(number >= 0.0 && number < static_cast<double>(end))) {
            throw std::invalid_argument("the checkpoint's '" + name + "' is " + std::to_string(number) +
                                        "; it must be from 0 to below " + std::to_string(end) +
                                        ": it belongs to another plan");
        }
        return static_cast<std::size_t>(number);
    }
    template <class Container>
    void get_all(const std::string& name, std::size_t size, Container& arrays) const {
        const std::vector<double>& all = array(name);
        if (size == 0 || all.size() % size != 0) {
            throw std::invalid_argument("the checkpoint's array '" + name + "' has " +
                                        std::to_string(all.size()) + " entries, not a multiple of " +
                                        std::to_string(size) + ": it belongs to another plan");
        }
        arrays.clear();
        for (auto at = all.begin(); at != all.end(); at += static_cast<std::ptrdiff_t>(size)) {
            arrays.emplace_back(at, at + static_cast<std::ptrdiff_t>(size));
        }
    }

private:
    Arrays arrays_;
};

} // namespace brimstone
