# What Python programs commonly do; ends with "python works".
import asyncio, multiprocessing, mmap, os, shutil, signal, socket, sqlite3, subprocess, threading, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory


def square(number):
    return number * number


def threads():
    done = []
    started = [threading.Thread(target=done.append, args=(number,)) for number in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert len(done) == 8


def processes():
    assert subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout == "hi\n"
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(square, range(3))) == [0, 1, 4]
    memory = shared_memory.SharedMemory(create=True, size=100)
    memory.close()
    memory.unlink()
    os.pidfd_open(os.getpid())
    os.sched_getaffinity(0)
    os.nice(1)


async def child():
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    output, _ = await process.communicate(b"x")
    assert output == b"x"


def database():
    connection = sqlite3.connect("/tmp/x.db")
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table t(a)")
    connection.executemany("insert into t values(?)", [(number,) for number in range(100)])
    connection.commit()
    assert connection.execute("select count(*) from t").fetchone()[0] == 100


def files():
    with open("/tmp/f", "w") as file:
        file.write("x" * 4096)
    descriptor = os.open("/tmp/f", os.O_RDWR)
    mmap.mmap(descriptor, 4096).flush()
    os.posix_fallocate(descriptor, 0, 8192)
    os.mkfifo("/tmp/fifo")
    os.memfd_create("x")
    os.makedirs("/tmp/tree/branch")
    shutil.copytree("/tmp/tree", "/tmp/copy")


def sockets():
    left, right = socket.socketpair()
    left.send(b"1")
    assert right.recv(1) == b"1"
    socket.getaddrinfo("localhost", 80)
    socket.create_server(("127.0.0.1", 0)).close()


def signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    assert signal.sigwait([signal.SIGALRM]) == signal.SIGALRM
    time.sleep(0.01)


if __name__ == "__main__":
    for part in (threads, processes, database, files, sockets, signals):
        part()
    asyncio.run(child())
    print("python works")
