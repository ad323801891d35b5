#include "python/names.h"

int mlp_py_names_init(struct mlp_py_names *names)
{
#define INTERN(field, text)                                                                        \
    if ((names->field = PyUnicode_InternFromString(text)) == NULL)                                 \
        return -1;
    MLP_PY_NAMES(INTERN)
#undef INTERN
    return 0;
}

void mlp_py_names_clear(struct mlp_py_names *names)
{
#define CLEAR(field, text) Py_CLEAR(names->field);
    MLP_PY_NAMES(CLEAR)
#undef CLEAR
}
