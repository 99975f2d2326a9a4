# What both ARM builds share. Libraries of the target come from Debian's packages, unpacked below the cache; those that are
# headers alone are the host's own, linked into one folder so that no other header of the host is seen.
set(CMAKE_CXX_COMPILER ${ESPALIER_TRIPLET}-g++)
set(ESPALIER_ARM_ROOT $ENV{ESPALIER_CACHE}/arm/${ESPALIER_TRIPLET})
set(ESPALIER_ARM_HEADERS $ENV{ESPALIER_CACHE}/arm/headers)
set(CMAKE_CROSSCOMPILING_EMULATOR
    ${ESPALIER_EMULATOR} -L /usr/${ESPALIER_TRIPLET} -E LD_LIBRARY_PATH=${ESPALIER_ARM_ROOT}/usr/lib/${ESPALIER_TRIPLET})
set(CMAKE_FIND_ROOT_PATH /usr/${ESPALIER_TRIPLET} ${ESPALIER_ARM_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
