-- watermarks: one row per facility, with the newest instant its feed has shown: the only "now" there is.
SELECT facility, max(known_at) AS watermark FROM message_rows WHERE facility <> 'wardstream' GROUP BY facility
