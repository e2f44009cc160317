export default function Page() {
  return <p>Nothing leaves this machine.</p>;
}
