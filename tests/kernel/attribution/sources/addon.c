/* A Node addon that connects as it is loaded, to the port in the environment. */
#include "dial.h"

void *napi_register_module_v1(void *env, void *exports)
{
	const char *port = getenv("ADDON_PORT");
	struct sockaddr_in address = peer(port ? atoi(port) : 9);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return exports;
}
