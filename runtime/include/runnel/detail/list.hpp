// SPDX-License-Identifier: MIT
#pragma once

namespace runnel::detail {

/// A hook of an intrusive, circular, doubly linked list: no allocation, O(1) removal.
struct list_node {
    list_node* prev = this;
    list_node* next = this;

    list_node() noexcept = default;
    list_node(const list_node&) = delete;
    list_node& operator=(const list_node&) = delete;

    [[nodiscard]] bool linked() const noexcept { return next != this; }
    void unlink() noexcept {
        prev->next = next;
        next->prev = prev;
        prev = next = this;
    }
    void insert_before(list_node& where) noexcept {
        prev = where.prev;
        next = &where;
        prev->next = this;
        where.prev = this;
    }
};

/// A list of T, which derives from list_node. It does not own its members.
template <class T>
class list {
public:
    [[nodiscard]] bool empty() const noexcept { return !head_.linked(); }
    void push_back(T& item) noexcept { item.insert_before(head_); }
    void push_front(T& item) noexcept { item.insert_before(*head_.next); }
    [[nodiscard]] T& front() noexcept { return static_cast<T&>(*head_.next); }
    T& pop_front() noexcept {
        T& item = front();
        item.list_node::unlink();
        return item;
    }
    /// Moves all members of `other` to the end of this list.
    void splice(list& other) noexcept {
        while (!other.empty()) push_back(other.pop_front());
    }
    /// Calls f(item) for each; f may unlink the item it is given.
    template <class F>
    void for_each(F&& f) {
        for (list_node *n = head_.next, *after = n->next; n != &head_; n = after, after = n->next)
            f(static_cast<T&>(*n));
    }
    template <class F>
    void for_each(F&& f) const {
        for (const list_node* n = head_.next; n != &head_; n = n->next)
            f(static_cast<const T&>(*n));
    }

private:
    list_node head_;
};

}  // namespace runnel::detail
