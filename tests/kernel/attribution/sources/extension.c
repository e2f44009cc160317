/* A Python extension module that connects by itself, through libc and without it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "dial.h"

static PyObject *by_libc(PyObject *self, PyObject *port)
{
	struct sockaddr_in address = peer(PyLong_AsLong(port));
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	Py_RETURN_NONE;
}

#ifdef __aarch64__
static void connect_by_instruction(long fd, struct sockaddr_in *address)
{
	register long number __asm__("x8") = 203; /* connect(2) on arm64 */
	register long result __asm__("x0") = fd;
	register void *target __asm__("x1") = address;
	register long size __asm__("x2") = sizeof(*address);

	__asm__ volatile("svc 0"
			 : "+r"(result)
			 : "r"(number), "r"(target), "r"(size)
			 : "memory");
}
#else
static void connect_by_instruction(long fd, struct sockaddr_in *address)
{
	long result = 42; /* connect(2) on x86-64 */

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(fd), "S"(address), "d"(sizeof(*address))
			 : "rcx", "r11", "memory");
}
#endif

static PyObject *by_instruction(PyObject *self, PyObject *port)
{
	struct sockaddr_in address = peer(PyLong_AsLong(port));
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	connect_by_instruction(fd, &address);
	close(fd);
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{"by_libc", by_libc, METH_O, ""},
	{"by_instruction", by_instruction, METH_O, ""},
	{0},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "extension", .m_size = -1,
				    .m_methods = methods};

PyMODINIT_FUNC PyInit_extension(void)
{
	return PyModule_Create(&module);
}
