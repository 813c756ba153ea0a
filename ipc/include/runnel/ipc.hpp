// SPDX-License-Identifier: MIT
#pragma once

// All of runnel: processes, and the runtime below them.

#include <runnel/ipc/array.hpp>
#include <runnel/ipc/barrier.hpp>
#include <runnel/ipc/broadcast.hpp>
#include <runnel/ipc/bytes.hpp>
#include <runnel/ipc/channel.hpp>
#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/condition.hpp>
#include <runnel/ipc/connection.hpp>
#include <runnel/ipc/event.hpp>
#include <runnel/ipc/exit_status.hpp>
#include <runnel/ipc/lease.hpp>
#include <runnel/ipc/list.hpp>
#include <runnel/ipc/mutex.hpp>
#include <runnel/ipc/pipe.hpp>
#include <runnel/ipc/process.hpp>
#include <runnel/ipc/queue.hpp>
#include <runnel/ipc/record.hpp>
#include <runnel/ipc/recursive_mutex.hpp>
#include <runnel/ipc/semaphore.hpp>
#include <runnel/ipc/shareable.hpp>
#include <runnel/ipc/shared_memory.hpp>
#include <runnel/ipc/spawn.hpp>
#include <runnel/ipc/this_process.hpp>
#include <runnel/ipc/value.hpp>
#include <runnel/ipc/wait_any.hpp>
#include <runnel/runnel.hpp>
