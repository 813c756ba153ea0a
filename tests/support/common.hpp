// SPDX-License-Identifier: MIT
// What nearly every test includes, compiled once for all of them (a precompiled header: each test
// includes by itself what it uses).
#pragma once

#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <runnel/ipc.hpp>
#include <runnel/runnel.hpp>
#include <runnel/testing/no_loss.hpp>

#include "support/catch.hpp"
