/* step MODEL [SECONDS]: runs a model of ONNX or NNEF step by step, as a stream, and prints the time of a step.
 * C11, library espalier. What the model leaves free (batch, time) is 1; recurrent layers keep their state. */
#define _POSIX_C_SOURCE 200809L
#include <espalier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of a test that counts; a product has none. */
extern size_t allocations_so_far(void) __attribute__((weak));

static void check(espalier_status status) {
  if (status == ESPALIER_OK) return;
  fprintf(stderr, "error: %s\n", espalier_last_error());
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

enum { MOST = 1 << 20 };
static double times[MOST];

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: step MODEL [SECONDS]\n");
    return 2;
  }
  espalier_model* model = NULL;
  check(espalier_model_open(argv[1], &model));

  /* A session runs the model; any number of them may share it. */
  espalier_session_desc desc = {.size = sizeof desc, .threads = 1, .flags = ESPALIER_KEEP_STATE};
  espalier_session* session = NULL;
  check(espalier_session_create(model, &desc, &session));

  /* Memory of the session for each input, written before each step. */
  for (size_t i = 0; i < espalier_model_inputs(model); ++i) {
    espalier_value_info info = {.size = sizeof info};
    check(espalier_model_input(model, i, &info));
    size_t count = 1;
    for (int32_t axis = 0; axis < info.rank; ++axis) {
      if (info.extents[axis] < 0) info.extents[axis] = 1;
      count *= (size_t)info.extents[axis];
    }
    void* data = NULL;
    check(espalier_session_input(session, info.name, (size_t)info.rank, info.extents, &data));
    if (info.type == ESPALIER_F32)
      for (size_t k = 0; k < count; ++k) ((float*)data)[k] = 0.01F * (float)(k % 100);
    else
      memset(data, 0, count * (info.type == ESPALIER_I64 ? 8 : info.type == ESPALIER_I32 ? 4 : 1));
  }

  for (int step = 0; step < 10; ++step) check(espalier_session_run(session)); /* plans memory */

  const size_t before = allocations_so_far == NULL ? 0 : allocations_so_far();
  const double limit = argc > 2 ? atof(argv[2]) : 1, begin = seconds();
  size_t runs = 0;
  double last = begin;
  do {
    check(espalier_session_run(session));
    const double now = seconds();
    times[runs++] = now - last;
    last = now;
  } while (runs < MOST && last - begin < limit);
  const size_t after = allocations_so_far == NULL ? 0 : allocations_so_far();

  /* An output lies in the session's memory until the next step. */
  espalier_value_info info = {.size = sizeof info};
  check(espalier_model_output(model, 0, &info));
  espalier_tensor y = {.size = sizeof y};
  check(espalier_session_output(session, info.name, &y));
  if (y.type == ESPALIER_F32 && y.bytes != 0) printf("%s[0] = %g\n", info.name, (double)*(const float*)y.data);

  qsort(times, runs, sizeof *times, by_value);
  printf("%zu steps, median %.3f us a step, %s\n", runs, 1e6 * times[runs / 2], espalier_simd_target());
  if (allocations_so_far != NULL) printf("%zu allocations\n", after - before);
  espalier_session_destroy(session);
  espalier_model_destroy(model);
  return 0;
}
