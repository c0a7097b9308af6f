// A program with a thread.
#include <pthread.h>
#include <stdio.h>

static void *same(void *argument)
{
    return argument;
}

int main(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, same, NULL);
    pthread_join(thread, NULL);
    return puts("compiled and run") < 0;
}
