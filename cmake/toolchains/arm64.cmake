# aarch64 from Debian's cross compiler; programs run under qemu-user. scripts/setup --arm brings what it names.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(ESPALIER_TRIPLET aarch64-linux-gnu)
set(ESPALIER_SVE_BITS 256 CACHE STRING "Length of SVE vectors that the kernels are compiled for: 256 or 128")
set(ESPALIER_EMULATOR qemu-aarch64 -cpu max,sve${ESPALIER_SVE_BITS}=on)
# What Highway calls NEON: constructors that a compiler adds do not get its target attribute.
set(CMAKE_CXX_FLAGS_INIT "-march=armv8-a+crypto")
include(${CMAKE_CURRENT_LIST_DIR}/arm.cmake)
