/* A PKCS#11 module for tests that hands every call on to another one and fails where it is told to.
 *
 * DPKI_FAULT names faults, separated by commas, each where:how or where:how:nth. `where` is "load" or
 * a function's name; from its nth call on (the first, where no number is given) it does `how`:
 *
 *   segv, abort, exit, hang   crash, end the process, or never come back
 *   garble                    (C_Sign) spoil the signature
 *   careless                  (C_GenerateKeyPair) make the private key not sensitive
 *   0x...                     (elsewhere) return this CKR_; (C_GetMechanismList) hide this CKM_
 *
 * DPKI_FAULT_LOG names a file that gets a line for each call of the functions below.
 *
 * The types are declared here from the specification (PKCS#11 2.40, sections 3 and 4.2): of the list
 * of functions only the order counts.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long number;
typedef void (*function)(void);

struct functions {
  unsigned char version[2];
  function table[68];
};

struct attribute {
  number type;
  void *value;
  number length;
};

enum { INITIALIZE = 0, FINALIZE = 1, GET_MECHANISM_LIST = 7, LOGIN = 18, FIND_OBJECTS_INIT = 26 };
enum { SIGN_INIT = 42, SIGN = 43, GENERATE_KEY_PAIR = 59 };
enum { CKA_SENSITIVE = 0x103 };

static struct functions real, ours;

static void note(const char *where) {
  const char *path = getenv("DPKI_FAULT_LOG");
  if (path == NULL) return;
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  dprintf(file, "%s\n", where);
  close(file);
}

/* Do what is to be done there, or return what is to be returned (0 for nothing). */
static number reach(const char *where, int call, char *how, size_t size) {
  const char *faults = getenv("DPKI_FAULT");
  char copy[512], *rest = copy, *fault;
  how[0] = 0;
  snprintf(copy, sizeof copy, "%s", faults ? faults : "");
  while ((fault = strsep(&rest, ",")) != NULL) {
    char *place = strsep(&fault, ":"), *kind = strsep(&fault, ":");
    if (kind == NULL || strcmp(place, where) != 0 || call < (fault ? atoi(fault) : 1)) continue;
    if (strcmp(kind, "segv") == 0) *(volatile int *)8 = 1;
    if (strcmp(kind, "abort") == 0) abort();
    if (strcmp(kind, "exit") == 0) exit(7);
    while (strcmp(kind, "hang") == 0) pause();
    snprintf(how, size, "%s", kind);
    return kind[0] == '0' ? strtoul(kind, NULL, 16) : 0;
  }
  return 0;
}

/* At the head of each function below: counts its calls, and returns where it is to fail. */
#define REACH(name)                                       \
  static int calls;                                       \
  char how[32];                                           \
  note(name);                                             \
  number fault = reach(name, ++calls, how, sizeof how);

static number initialize(void *arguments) {
  REACH("C_Initialize")
  return fault ? fault : ((number(*)(void *))real.table[INITIALIZE])(arguments);
}

static number finalize(void *reserved) {
  REACH("C_Finalize")
  return fault ? fault : ((number(*)(void *))real.table[FINALIZE])(reserved);
}

static number get_mechanism_list(number slot, number *list, number *count) {
  REACH("C_GetMechanismList")
  number result = ((number(*)(number, number *, number *))real.table[GET_MECHANISM_LIST])(slot, list, count);
  /* Hidden behind one that is known already, so that the count stays. */
  for (number i = 1; result == 0 && list != NULL && fault && i < *count; i++)
    if (list[i] == fault) list[i] = list[0];
  return result;
}

static number login(number session, number user, unsigned char *pin, number length) {
  REACH("C_Login")
  return fault ? fault
               : ((number(*)(number, number, unsigned char *, number))real.table[LOGIN])(session, user, pin, length);
}

static number find_objects_init(number session, struct attribute *wanted, number count) {
  REACH("C_FindObjectsInit")
  return fault ? fault
               : ((number(*)(number, struct attribute *, number))real.table[FIND_OBJECTS_INIT])(session, wanted, count);
}

static number sign_init(number session, void *mechanism, number key) {
  REACH("C_SignInit")
  return fault ? fault : ((number(*)(number, void *, number))real.table[SIGN_INIT])(session, mechanism, key);
}

static number sign(number session, unsigned char *data, number length, unsigned char *signature, number *size) {
  number (*call)(number, unsigned char *, number, unsigned char *, number *) = (void *)real.table[SIGN];
  /* Asked for the size only. */
  if (signature == NULL) return call(session, data, length, signature, size);
  REACH("C_Sign")
  if (fault) return fault;
  number result = call(session, data, length, signature, size);
  if (result == 0 && strcmp(how, "garble") == 0) signature[*size - 1] ^= 1;
  return result;
}

static number generate_key_pair(number session, void *mechanism, struct attribute *public, number public_count,
                                struct attribute *private, number private_count, number *public_key,
                                number *private_key) {
  REACH("C_GenerateKeyPair")
  if (strcmp(how, "careless") == 0)
    for (number i = 0; i < private_count; i++)
      if (private[i].type == CKA_SENSITIVE) *(unsigned char *)private[i].value = 0;
  if (fault) return fault;
  return ((number(*)(number, void *, struct attribute *, number, struct attribute *, number, number *,
                     number *))real.table[GENERATE_KEY_PAIR])(session, mechanism, public, public_count, private,
                                                              private_count, public_key, private_key);
}

__attribute__((constructor)) static void load(void) {
  char how[32];
  note("load");
  reach("load", 1, how, sizeof how);
}

number C_GetFunctionList(struct functions **list) {
  void *module = dlopen(REAL_MODULE, RTLD_NOW | RTLD_LOCAL);
  struct functions *found = NULL;
  if (module == NULL) return 6; /* CKR_FUNCTION_FAILED */
  ((number(*)(struct functions **))dlsym(module, "C_GetFunctionList"))(&found);
  ours = real = *found;
  ours.table[INITIALIZE] = (function)initialize;
  ours.table[FINALIZE] = (function)finalize;
  ours.table[GET_MECHANISM_LIST] = (function)get_mechanism_list;
  ours.table[LOGIN] = (function)login;
  ours.table[FIND_OBJECTS_INIT] = (function)find_objects_init;
  ours.table[SIGN_INIT] = (function)sign_init;
  ours.table[SIGN] = (function)sign;
  ours.table[GENERATE_KEY_PAIR] = (function)generate_key_pair;
  *list = &ours;
  return 0;
}
