// SPDX-License-Identifier: MIT

// sync:
//   raw_pthread      a robust mutex, which survives the death of its owner, and sem_t
//   raw_futex        the least that a mutex, a semaphore and an event need; none survives a kill
//   raw_uring_futex  the same semaphore and event, with runnel's spin and its way to sleep
#include <pthread.h>
#include <semaphore.h>

#include "raw_park.hpp"
#include "sync.hpp"

namespace {

class robust_mutex {
public:
    robust_mutex() {
        pthread_mutexattr_t a;
        pthread_mutexattr_init(&a);
        pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
        if (pthread_mutex_init(&mutex_, &a)) bench::die("pthread_mutex_init");
    }
    void lock() {
        if (pthread_mutex_lock(&mutex_)) bench::die("pthread_mutex_lock");
    }
    void unlock() { pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t mutex_;
};

class posix_semaphore {
public:
    posix_semaphore() { sem_init(&semaphore_, 1, 0); }
    void post() { sem_post(&semaphore_); }
    void wait() {
        if (sem_wait(&semaphore_)) bench::die("sem_wait");
    }

private:
    sem_t semaphore_;
};

// 0 free, 1 held, 2 held and somebody may sleep.
class futex_mutex {
public:
    void lock() {
        unsigned was = 0;
        if (state_.compare_exchange_strong(was, 1)) return;
        while (state_.exchange(2)) raw::futex_wait(state_, 2);
    }
    void unlock() {
        if (state_.exchange(0) == 2) raw::futex_wake(state_, 1);
    }

private:
    raw::word state_{0};
};

template <class Wait>
class semaphore {
public:
    void post() {
        count_.fetch_add(1);
        gate_.signal();
    }
    void wait() {
        gate_.wait<Wait>([this] {
            for (unsigned n = count_; n;)
                if (count_.compare_exchange_weak(n, n - 1)) return true;
            return false;
        });
    }

private:
    raw::word count_{0};
    raw::gate gate_;
};

template <class Wait>
class event {
public:
    void set() {
        set_ = 1;
        gate_.signal(INT_MAX);
    }
    void clear() { set_ = 0; }
    void wait() {
        gate_.wait<Wait>([this] { return set_.load() != 0; });
    }

private:
    raw::word set_{0};
    raw::gate gate_;
};

using raw::futex, raw::uring_futex;
bench::sync_job<robust_mutex, posix_semaphore, bench::none> pthread_job("raw_pthread");
bench::sync_job<futex_mutex, semaphore<futex>, event<futex>> futex_job("raw_futex");
bench::sync_job<bench::none, semaphore<uring_futex>, event<uring_futex>> uring_job(
    "raw_uring_futex");

}  // namespace
