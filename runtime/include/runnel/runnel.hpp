// SPDX-License-Identifier: MIT
#pragma once

// The whole of runnel::runtime.
#include <runnel/as_atomic.hpp>
#include <runnel/as_result.hpp>
#include <runnel/awaiter.hpp>
#include <runnel/barrier.hpp>
#include <runnel/cancel_on.hpp>
#include <runnel/condition.hpp>
#include <runnel/error.hpp>
#include <runnel/event.hpp>
#include <runnel/finally.hpp>
#include <runnel/fork.hpp>
#include <runnel/io.hpp>
#include <runnel/loop.hpp>
#include <runnel/mutex.hpp>
#include <runnel/name_task.hpp>
#include <runnel/nursery.hpp>
#include <runnel/outcome.hpp>
#include <runnel/pipe.hpp>
#include <runnel/race.hpp>
#include <runnel/ready.hpp>
#include <runnel/result.hpp>
#include <runnel/run.hpp>
#include <runnel/semaphore.hpp>
#include <runnel/shield.hpp>
#include <runnel/sleep.hpp>
#include <runnel/stdio.hpp>
#include <runnel/stream.hpp>
#include <runnel/suppressed_errors.hpp>
#include <runnel/task.hpp>
#include <runnel/uncancellable.hpp>
#include <runnel/unique_fd.hpp>
#include <runnel/watch.hpp>
#include <runnel/when_all.hpp>
#include <runnel/with_timeout.hpp>
#include <runnel/yield.hpp>
