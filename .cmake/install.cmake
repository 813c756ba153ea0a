# SPDX-License-Identifier: MIT
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/runnel)
install(TARGETS runnel_runtime runnel_ipc EXPORT runnel FILE_SET HEADERS)
install(EXPORT runnel NAMESPACE runnel:: DESTINATION ${package_dir} FILE runnelTargets.cmake)
configure_package_config_file(.cmake/runnelConfig.cmake.in runnelConfig.cmake
    INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(runnelConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/runnelConfig.cmake
              ${PROJECT_BINARY_DIR}/runnelConfigVersion.cmake
        DESTINATION ${package_dir})

# A static library hands its own needs to whoever links it; a shared one has them already.
set(needs "Requires")
if(BUILD_SHARED_LIBS)
    set(needs "Requires.private")
endif()
# Relative to the .pc file, so that the installed tree may be moved.
file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" up "${up}")

function(install_pkgconfig name what requires)
    configure_file(.cmake/runnel.pc.in runnel-${name}.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/runnel-${name}.pc
            DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
install_pkgconfig(runtime "coroutine runtime on io_uring" "${needs}: liburing >= 2.3")
install_pkgconfig(ipc "coroutines between processes"
                  "Requires: runnel-runtime = ${PROJECT_VERSION}")
