/* espalier in C: models of ONNX and NNEF files, and the kernels below them (espalier_kernels.h, which
 * has the rules for errors, handles, structs and memory). C11; library libespalier.
 *
 * Threads  An espalier_model does not change: any number of threads may read it and make sessions
 *          of it at the same time. A session serves one call at a time; sessions are independent of
 *          each other, but those that share a pool must not run at the same time.
 * Memory   espalier_session_run allocates nothing if the extents of all inputs are those of the run
 *          before, from the third run on.
 */
#ifndef ESPALIER_H
#define ESPALIER_H

#include <espalier_kernels.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Models ---------------------------------------------------------------------------------- */

typedef struct espalier_model espalier_model;

/* An ONNX file (with its external data), or NNEF as a folder, .tar or .tgz; the content says what it
 * is. The file must not change while the model or a session of it exists. */
espalier_status espalier_model_open(const char* path, espalier_model** model);
/* The bytes of such a file, which are copied: ONNX without external data, NNEF as .tar or .tgz. */
espalier_status espalier_model_open_memory(const void* bytes, size_t size, espalier_model** model);
void espalier_model_destroy(espalier_model* model);

#define ESPALIER_MAX_RANK 8

/* An input or output as the model declares it. Names are valid as long as the model. */
typedef struct espalier_value_info {
  size_t size; /* sizeof(espalier_value_info), set by the caller */
  const char* name;
  espalier_type type;                    /* -1: not declared, or none of espalier_type */
  int32_t rank;                          /* -1: not declared */
  int64_t extents[ESPALIER_MAX_RANK];    /* -1 where free */
  const char* dimensions[ESPALIER_MAX_RANK]; /* name of a free extent, or "" */
} espalier_value_info;

size_t espalier_model_inputs(const espalier_model* model);
size_t espalier_model_outputs(const espalier_model* model);
espalier_status espalier_model_input(const espalier_model* model, size_t index,
                                     espalier_value_info* info);
espalier_status espalier_model_output(const espalier_model* model, size_t index,
                                      espalier_value_info* info);

/* ---- Sessions -------------------------------------------------------------------------------- */

/* Time of each layer is kept; measuring costs some ten nanoseconds a layer. */
#define ESPALIER_PROFILE 2U
/* Packed weights run packed also where dense ones are faster. */
#define ESPALIER_ALWAYS_PACKED 4U
/* Runs are pieces of a stream: GRU, LSTM and RNN layers whose initial state the model leaves out, or
 * sets to zeros, go on from where the run before ended. espalier_session_reset begins a new stream. A
 * layer that runs backwards is ESPALIER_ERROR_UNSUPPORTED. */
#define ESPALIER_KEEP_STATE 8U

typedef struct espalier_session_desc {
  size_t size;         /* sizeof(espalier_session_desc) */
  size_t threads;      /* 0: all processors; without a pool */
  espalier_pool* pool; /* null, or threads to use instead; it must outlive the session */
  uint32_t flags;      /* ESPALIER_EXACT_VALUES, ESPALIER_PROFILE, ESPALIER_ALWAYS_PACKED,
                          ESPALIER_KEEP_STATE */
} espalier_session_desc;

typedef struct espalier_session espalier_session;

/* A null desc: one thread, no flags. An operator that cannot be run is ESPALIER_ERROR_UNSUPPORTED. */
espalier_status espalier_session_create(const espalier_model* model,
                                        const espalier_session_desc* desc,
                                        espalier_session** session);
void espalier_session_destroy(espalier_session* session);

/* Memory of the session for an input, for the caller to write before each run; not initialised.
 * It stays where it is until the input is bound again. rank 0 with null extents: as declared, where
 * no extent is free. */
espalier_status espalier_session_input(espalier_session* session, const char* name, size_t rank,
                                       const int64_t* extents, void** data);

/* The input is read from `data` at each run: `bytes` long, aligned for its type. */
espalier_status espalier_session_bind_input(espalier_session* session, const char* name,
                                            size_t rank, const int64_t* extents, const void* data,
                                            size_t bytes);

/* The output is copied to `data` after each run; another number of bytes than `bytes` is an error of
 * that run. Null data: no longer. */
espalier_status espalier_session_bind_output(espalier_session* session, const char* name,
                                             void* data, size_t bytes);

/* Streams: `input` is zero in the first run, and what `output` was in the run before from then on; the
 * caller does not write it. Extents of the input as given by espalier_session_input, else as declared
 * with 1 for each that is free. All states begin at zero again. */
espalier_status espalier_session_carry(espalier_session* session, const char* input,
                                       const char* output);
/* All carried and kept states are zero in the next run: the begin of a stream. */
espalier_status espalier_session_reset(espalier_session* session);

espalier_status espalier_session_run(espalier_session* session);

/* An output of the last run, valid until the next one. */
typedef struct espalier_tensor {
  size_t size; /* sizeof(espalier_tensor), set by the caller */
  espalier_type type;
  int32_t rank;
  int64_t extents[ESPALIER_MAX_RANK];
  const void* data;
  size_t bytes;
} espalier_tensor;
espalier_status espalier_session_output(const espalier_session* session, const char* name,
                                        espalier_tensor* tensor);

/* ---- Profile --------------------------------------------------------------------------------- */

typedef struct espalier_layer {
  const char *op, *name; /* valid until the next espalier_session_profile of this session */
  double seconds;        /* of all runs so far */
} espalier_layer;

/* Writes up to `capacity` layers in the order of the run, and to `count` how many there are; 0 for a
 * session without ESPALIER_PROFILE. */
espalier_status espalier_session_profile(espalier_session* session, espalier_layer* layers,
                                         size_t capacity, size_t* count);

/* Bytes held for weights, and for values in between. */
size_t espalier_session_weight_bytes(const espalier_session* session);
size_t espalier_session_value_bytes(const espalier_session* session);

#ifdef __cplusplus
}
#endif

#endif /* ESPALIER_H */
