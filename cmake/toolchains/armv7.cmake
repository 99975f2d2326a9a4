# armv7 with NEON and fused multiply-adds, as arm64.cmake.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(ESPALIER_TRIPLET arm-linux-gnueabihf)
set(ESPALIER_EMULATOR qemu-arm -cpu max)
set(CMAKE_CXX_FLAGS_INIT "-march=armv7-a+neon-vfpv4 -mfpu=neon-vfpv4 -mfp16-format=ieee")
include(${CMAKE_CURRENT_LIST_DIR}/arm.cmake)
