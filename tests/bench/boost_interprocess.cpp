// SPDX-License-Identifier: MIT

// Boost.Interprocess: message_queue, interprocess_mutex, interprocess_semaphore.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <memory>
#include <string>

#include "sync.hpp"

namespace bi = boost::interprocess;

namespace {

class line {
public:
    explicit line(long size) : size_(std::size_t(size)), buffer_(new char[size_]) {
        std::string name = "runnel-bench-" + std::to_string(getpid());
        queue_ = std::make_unique<bi::message_queue>(bi::create_only, name.c_str(),
                                                     size < 65536 ? 128 : 16, size_);
        bi::message_queue::remove(name.c_str());
    }
    void send(const char* m, long n) { queue_->send(m, std::size_t(n), 0); }
    template <class F>
    void recv(long, F f) {
        bi::message_queue::size_type got;
        unsigned priority;
        queue_->receive(buffer_.get(), size_, got, priority);
        f(buffer_.get());
    }

private:
    std::size_t size_;
    std::unique_ptr<char[]> buffer_;
    std::unique_ptr<bi::message_queue> queue_;
};

struct semaphore : bi::interprocess_semaphore {
    semaphore() : bi::interprocess_semaphore(0) {}
};

bench::line_jobs<line> jobs("boost");
bench::sync_job<bi::interprocess_mutex, semaphore, bench::none> sync_job("boost");

}  // namespace
