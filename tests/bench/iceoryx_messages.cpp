// SPDX-License-Identifier: MIT

// iceoryx, a topic each way, lossless. Its daemon runs as long as the job. The sender copies its
// message into a chunk, the reader looks at it there.
//   iceoryx_spin     take() again and again
//   iceoryx_waitset  waits on a WaitSet
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/popo/wait_set.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>
#include <memory>
#include <string>

#include "messages.hpp"

namespace {

// The daemon removes what it made when it is asked to end, and is asked too when this process dies.
// It aborts if a process has ended without saying so, which the destructor of the library's runtime
// does: the daemon is made before that, and the child ends by exit().
class daemon {
public:
    daemon() : owner_(getpid()) {
        pid_ = fork();
        if (pid_ < 0) bench::die("fork");
        if (pid_) return;
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != owner_) _exit(3);
        dup2(2, 1);
        execlp("iox-roudi", "iox-roudi", "-m", "off", "-l", "off", static_cast<char*>(nullptr));
        _exit(127);
    }
    ~daemon() {
        if (getpid() != owner_) return;
        kill(pid_, SIGTERM);
        waitpid(pid_, nullptr, 0);
    }

private:
    pid_t owner_, pid_;
};

template <class S>
S cut(const std::string& text) {
    return S(iox::cxx::TruncateToCapacity, text.c_str());
}

template <bool Spin>
class topics {
public:
    explicit topics(long) { static daemon for_this_program; }
    void open(int role) {
        using namespace iox;
        using id = capro::IdString_t;
        const char* directions[] = {"there", "back"};
        runtime::PoshRuntime::initRuntime(cut<RuntimeName_t>(name_ + directions[role]));
        popo::PublisherOptions out;
        out.subscriberTooSlowPolicy = popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
        publisher_ = std::make_unique<popo::UntypedPublisher>(
            capro::ServiceDescription{"bench", cut<id>(name_), cut<id>(directions[role])}, out);
        popo::SubscriberOptions in;
        in.queueCapacity = 128;
        in.queueFullPolicy = popo::QueueFullPolicy::BLOCK_PRODUCER;
        subscriber_ = std::make_unique<popo::UntypedSubscriber>(
            capro::ServiceDescription{"bench", cut<id>(name_), cut<id>(directions[1 - role])}, in);
        if (!Spin) {
            set_ = std::make_unique<popo::WaitSet<>>();
            set_->attachState(*subscriber_, popo::SubscriberState::HAS_DATA).or_else([](auto) {
                bench::die("attachState");
            });
        }
        while (!publisher_->hasSubscribers() ||
               subscriber_->getSubscriptionState() != SubscribeState::SUBSCRIBED)
            usleep(1000);
    }
    void close() {
        set_.reset(), subscriber_.reset(), publisher_.reset();
        std::exit(0);
    }
    void send(const char* m, long n) {
        // No chunk is free while the reader holds them all.
        bool sent = false;
        do {
            publisher_->loan(std::uint32_t(n))
                .and_then([&](void* chunk) {
                    std::memcpy(chunk, m, std::size_t(n));
                    publisher_->publish(chunk);
                    sent = true;
                })
                .or_else([](auto) { __builtin_ia32_pause(); });
        } while (!sent);
    }
    template <class F>
    void recv(long, F f) {
        bool got = false;
        do {
            subscriber_->take()
                .and_then([&](const void* chunk) {
                    f(static_cast<const char*>(chunk));
                    subscriber_->release(chunk);
                    got = true;
                })
                .or_else([&](auto) {
                    if (Spin)
                        __builtin_ia32_pause();
                    else
                        set_->wait();
                });
        } while (!got);
    }

private:
    std::string name_ = "runnel-bench-" + std::to_string(getpid());
    std::unique_ptr<iox::popo::UntypedPublisher> publisher_;
    std::unique_ptr<iox::popo::UntypedSubscriber> subscriber_;
    std::unique_ptr<iox::popo::WaitSet<>> set_;
};

bench::spinning_jobs<topics<true>> spin_jobs("iceoryx_spin");
bench::peer_jobs<topics<false>> waitset_jobs("iceoryx_waitset");

}  // namespace
