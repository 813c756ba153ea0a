# SPDX-License-Identifier: MIT
# Each C++ block of the documents compiles, and runs unless it only declares; see snippets.py.
file(GLOB documents CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/*.md)
foreach(folder runtime ipc examples tests)
    file(GLOB_RECURSE more CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.md)
    list(APPEND documents ${more})
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${documents} snippets.py)

set(snippets_dir ${CMAKE_CURRENT_BINARY_DIR}/snippets)
set(extract ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/snippets.py ${PROJECT_SOURCE_DIR}
    ${snippets_dir} ${documents})
execute_process(COMMAND ${extract} OUTPUT_VARIABLE snippets OUTPUT_STRIP_TRAILING_WHITESPACE)
house_test("snippets are marked" COMMAND ${extract})  # complains again about what was left out
string(REPLACE "\n" ";" snippets "${snippets}")

set(objects "")
add_custom_target(house_snippets)
house_build("snippets compile" house_snippets)
set_tests_properties("house/snippets compile" PROPERTIES FIXTURES_SETUP snippets)
foreach(snippet ${snippets})
    separate_arguments(words UNIX_COMMAND "${snippet}")
    list(GET words 0 kind)
    list(GET words 1 name)
    set(source ${snippets_dir}/${name}.cpp)
    # Fragments name things that nobody uses; and a block is no header, though its lines are said to
    # be the document's.
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-Wno-unused;-Wno-unused-parameter;-Wno-missing-field-initializers;$<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>")
    if(kind STREQUAL "object")
        list(APPEND objects ${source})
        continue()
    endif()
    add_executable(snippet_${name} EXCLUDE_FROM_ALL ${source})
    add_dependencies(house_snippets snippet_${name})
    target_link_libraries(snippet_${name} PRIVATE runnel::runtime runnel::ipc)
    if(kind STREQUAL "program")
        house_test(${name} COMMAND snippet_${name})
        set_tests_properties("house/${name}" PROPERTIES
            TIMEOUT 60 RESOURCE_LOCK processes FIXTURES_REQUIRED snippets)
    endif()
endforeach()
if(objects)
    add_library(house_fragments OBJECT EXCLUDE_FROM_ALL ${objects})
    target_link_libraries(house_fragments PRIVATE runnel::runtime runnel::ipc)
    add_dependencies(house_snippets house_fragments)
endif()
