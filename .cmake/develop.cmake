# SPDX-License-Identifier: MIT
# For work on runnel itself; read only when runnel is the top level project.

option(RUNNEL_WERROR "Treat warnings as errors, as the presets do" OFF)
option(RUNNEL_FAST_TOOLS "Use ccache, and mold or lld, where they are installed" ON)
set(RUNNEL_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow)
if(RUNNEL_WERROR)
    add_compile_options(-Werror)
endif()

# g++ makes symmetric transfer a real tail call at -O2 only; in debug builds it must be told.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<CONFIG:Debug>:-foptimize-sibling-calls>)
endif()
add_compile_definitions($<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)
# g++ collects its garbage as if memory were short: without, it takes a tenth less time.
add_compile_options($<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=1000000>)

if(RUNNEL_SANITIZE)
    add_compile_options(-fsanitize=${RUNNEL_SANITIZE} -fno-sanitize-recover=all
                        -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${RUNNEL_SANITIZE})
    # The check looks at objects of libraries through a pipe, and reports them as invalid where
    # descriptors have run out, as they do in tests.
    add_compile_options(-fno-sanitize=vptr)
    # With g++ these make compiling half as long again; clang has them too, for less.
    add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fno-sanitize=null,alignment,object-size>)
endif()

if(RUNNEL_FAST_TOOLS)
    find_program(RUNNEL_CCACHE ccache)
    if(RUNNEL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
        # As ccache's manual asks for with precompiled headers.
        add_compile_options("$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
        set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
            CCACHE_SLOPPINESS=pch_defines,time_macros ${RUNNEL_CCACHE})
    endif()
    include(CheckLinkerFlag)
    check_linker_flag(CXX -fuse-ld=mold RUNNEL_HAVE_MOLD)
    check_linker_flag(CXX -fuse-ld=lld RUNNEL_HAVE_LLD)
    if(RUNNEL_HAVE_MOLD)
        add_link_options(-fuse-ld=mold)
    elseif(RUNNEL_HAVE_LLD)
        add_link_options(-fuse-ld=lld)
    endif()
endif()
