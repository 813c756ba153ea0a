// SPDX-License-Identifier: MIT
#pragma once

// All of runnel: processes, and the runtime below them.

#include <runnel/ipc/codec.hpp>
#include <runnel/ipc/connection.hpp>
#include <runnel/ipc/pipe.hpp>
#include <runnel/runnel.hpp>
