// The table of behaviour, for wasi:http.

export async function answer(request) {
  const { pathname, search } = new URL(request.url);
  const path = pathname.replace(/^\/table/, "");
  if (path.startsWith("/target/")) return new Response(pathname + search);
  switch (path) {
    case "/echo":
      return new Response(await request.arrayBuffer());
    case "/method":
      return new Response(request.method);
    case "/fields": {
      const headers = new Headers();
      headers.append("set-cookie", "a=1");
      headers.append("set-cookie", "b=2");
      return new Response(request.headers.get("x-test"), { headers });
    }
    case "/status":
      return new Response(null, { status: Number(search.slice(1)) });
    case "/crash":
      throw new Error("as asked");
    case "/spin":
      for (;;);
    case "/memory": {
      const kept = [];
      for (;;) kept.push(new Uint8Array(1 << 20).fill(1));
    }
    default:
      return new Response(null, { status: 404 });
  }
}
