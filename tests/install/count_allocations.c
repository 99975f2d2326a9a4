/* Counts the allocations of a program and of its libraries: glibc lets a program define these functions. */
#include <stddef.h>

size_t allocations_so_far(void);
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t bytes);
void* calloc(size_t count, size_t bytes);
void* realloc(void* old, size_t bytes);
void* memalign(size_t alignment, size_t bytes);
void* aligned_alloc(size_t alignment, size_t bytes);
int posix_memalign(void** result, size_t alignment, size_t bytes);

static size_t count;
size_t allocations_so_far(void) { return count; }
void* malloc(size_t bytes) { return ++count, __libc_malloc(bytes); }
void* calloc(size_t items, size_t bytes) { return ++count, __libc_calloc(items, bytes); }
void* realloc(void* old, size_t bytes) { return ++count, __libc_realloc(old, bytes); }
void* memalign(size_t alignment, size_t bytes) { return ++count, __libc_memalign(alignment, bytes); }
void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** result, size_t alignment, size_t bytes) {
  *result = memalign(alignment, bytes);
  return *result == NULL ? 12 : 0;
}
