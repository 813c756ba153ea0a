# SPDX-License-Identifier: MIT

# runnel_library(NAME): the library runnel::NAME, of src/*.cpp and include/**/*.hpp in this folder.
function(runnel_library name)
    file(GLOB sources CONFIGURE_DEPENDS src/*.cpp)
    file(GLOB_RECURSE headers CONFIGURE_DEPENDS include/*.hpp)
    if(NOT sources)
        set(sources ${CMAKE_CURRENT_BINARY_DIR}/none.cpp)
        file(TOUCH ${sources})
    endif()
    add_library(runnel_${name} ${sources})
    add_library(runnel::${name} ALIAS runnel_${name})
    set_target_properties(runnel_${name} PROPERTIES
        OUTPUT_NAME runnel-${name}
        EXPORT_NAME ${name}
        VERSION ${PROJECT_VERSION}
        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
        POSITION_INDEPENDENT_CODE ON
        CXX_EXTENSIONS OFF)
    target_compile_features(runnel_${name} PUBLIC cxx_std_20)
    target_sources(runnel_${name} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${headers})
    target_include_directories(runnel_${name} PRIVATE src)
    # As clang does anyway: code within a library may be inlined, though it is made for a shared one.
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        target_compile_options(runnel_${name} PRIVATE -fno-semantic-interposition)
    endif()
    if(PROJECT_IS_TOP_LEVEL)  # what is lost in a conversion is a bug here, and noise in tests
        target_compile_options(runnel_${name} PRIVATE -Wconversion -Wno-sign-conversion)
        # What of the standard library nearly every source includes, compiled once. Each source
        # includes by itself what it uses; CI builds once without this.
        target_precompile_headers(runnel_${name} PRIVATE <algorithm> <atomic> <chrono> <functional>
            <memory> <mutex> <optional> <span> <stdexcept> <string> <variant> <vector>)
    endif()
endfunction()
